"""A model file of one's own through the whole line, deployed by the program from the archive of its kind."""

import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest

from console.transfer import split_uri
from infra.archive import build_archive
from inspection import layout
from inspection.heat_map import MAX_SIDE, read_heat_map
from local.cloud import LocalCloud
from local.deploy.program import ROOT
from proof.permissions import Deliveries, model_file_config, prove_model_file

pytestmark = pytest.mark.xdist_group("model file")


@pytest.fixture(scope="module")
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model-file")


@pytest.fixture(scope="module")
def cloud(home: Path, deliveries: Deliveries) -> Generator[LocalCloud]:
    said: list[str] = []
    with LocalCloud(home / "cloud", gate=deliveries, config=model_file_config(), trained=home / "trained") as running:
        running.start(said.append)
        assert [line for line in said if "upload it before the first image" in line], said
        yield running


@pytest.fixture(scope="module")
def failed(cloud: LocalCloud, deliveries: Deliveries) -> str:
    return prove_model_file(cloud, deliveries).failed


def test_predict_reads_the_model_by_its_one_grant_and_an_image_that_came_before_it_lands(failed: str):
    assert failed.startswith("storage.objects.get is refused")


def test_the_image_bears_label_score_model_and_heat_map(cloud: LocalCloud, failed: str):
    assert failed
    [blob] = cloud.storage_client().list_blobs(cloud.prediction_bucket)
    metadata = blob.metadata or {}
    assert metadata["prediction-label"] in {"ok", "defect"}
    assert 0.5 <= float(metadata["prediction-score"]) <= 1
    assert metadata["model"] == model_file_config()["modelId"]
    heat = read_heat_map(metadata[layout.PREDICTION_HEAT_MAP])
    assert 1 <= len(heat) <= MAX_SIDE
    assert len(metadata[layout.PREDICTION_HEAT_MAP]) <= 400


def test_the_deployment_carries_onnxruntime_and_no_client_of_a_service():
    with zipfile.ZipFile(build_archive("predict", root=ROOT, kind="own").path) as archive:
        requirements = archive.read("requirements.txt").decode()
    assert "onnxruntime==" in requirements
    assert "google-cloud-automl==" not in requirements
    assert "google-cloud-aiplatform==" not in requirements


def test_the_next_start_still_has_the_model(cloud: LocalCloud, home: Path, failed: str):
    assert failed
    cloud.stop()
    said: list[str] = []
    with LocalCloud(home / "cloud", config=model_file_config(), trained=home / "trained") as again:
        again.start(said.append)
        bucket, _ = split_uri(again.outputs["modelsBucket"])
        assert [blob.name for blob in again.storage_client().list_blobs(bucket)] == ["models/proof.onnx"]
    assert not [line for line in said if "upload it before" in line]
