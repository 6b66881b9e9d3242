"""predict with a model file of one's own: answers with a heat map, and what happens where the file is wrong."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.cloud import storage

from automl.own.symmetry import Symmetry
from automl.own.training import Options, train
from inspection.heat_map import read_heat_map
from inspection.message import Prediction
from tests.automl.test_own_model import nothing, part, plates
from tests.functions.stage import Cloud, Function, Topic, push, start

Lines = Callable[[], list[dict[str, Any]]]
NAME = "models/plates-1.onnx"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    options = Options(size=128, symmetry=Symmetry.NONE, seed=1)
    return train(*plates(), options, tmp_path_factory.mktemp("cache"), nothing).file


@pytest.fixture
def models(cloud: Cloud) -> Iterator[storage.Bucket]:
    """In the prediction bucket's client, as a bucket of its own."""
    bucket = cloud.prediction.client.bucket("models")
    if not bucket.exists():
        bucket.create()
    yield bucket
    for blob in bucket.list_blobs():
        blob.delete()


@pytest.fixture
def own(cloud: Cloud, models: storage.Bucket, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> Function:
    environment = {
        "MODEL_ID": f"gs://models/{NAME}",
        "PREDICTIONS_TOPIC": topic.name,
        "LABELS": json.dumps(["ok", "defect"]),
    }
    return start("predict", environment, monkeypatch)


def test_a_model_file_answers_and_its_heat_map_arrives_at_the_moved_image(
    cloud: Cloud, models: storage.Bucket, topic: Topic, own: Function, move: Function, file: bytes
):
    blob = models.blob(NAME)
    blob.metadata = {"sha256": hashlib.sha256(file).hexdigest()}
    blob.upload_from_string(file)
    cloud.gate.clear()
    announced = [cloud.upload("bad.jpg", part(900, spots=("black",))), cloud.upload("good.jpg", part(901))]
    cloud.gate.clear()
    for each in announced:
        assert own.deliver(each).status == 200
    # The model's metadata and the model once, then each image.
    assert cloud.methods().count("objects.get") == 4

    bad, good = topic.messages()
    assert (bad["prediction_label"], good["prediction_label"]) == ("defect", "ok")
    assert bad["model"] == f"gs://models/{NAME}"
    assert max(map(max, read_heat_map(bad["heat_map"]))) == 255
    assert len(bad["heat_map"]) <= 400

    assert move.deliver(push(Prediction.from_json(json.dumps(bad).encode()).to_json())).status == 200
    [stored] = [blob for blob in cloud.prediction.list_blobs() if blob.name.endswith("bad.jpg")]
    assert (stored.metadata or {})["prediction-heat-map"] == bad["heat_map"]


def replaced(file: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert old in file
    return file.replace(old, new)


WRONG: list[tuple[Callable[[bytes], bytes] | None, str | None, str]] = [
    (None, None, "there is no such file"),
    (lambda _: b"not a model", None, "onnxruntime cannot load it"),
    (bytes, "0" * 64, "its SHA-256 is"),
    (lambda file: replaced(file, b'"defect"', b'"strang"'), None, "not among the stack's labels"),
    (lambda file: replaced(file, b"inspection.model", b"inspection.mode1"), None, "is not a model that"),
    (lambda file: replaced(file, b'"size": 128', b'"size": 160'), None, "its inputs and outputs are"),
    (lambda _: b"0" * 20_000_001, None, "it has 20,000,001 bytes"),
]


@pytest.mark.parametrize(("change", "sha256", "reason"), WRONG)
def test_a_file_that_cannot_be_used_needs_a_person_and_nothing_is_published(
    cloud: Cloud,
    models: storage.Bucket,
    topic: Topic,
    own: Function,
    lines: Lines,
    file: bytes,
    change: Callable[[bytes], bytes] | None,
    sha256: str | None,
    reason: str,
):
    if change is not None:
        blob = models.blob(NAME)
        blob.metadata = {"sha256": sha256} if sha256 else None
        blob.upload_from_string(change(file))
    announced = cloud.upload("a.jpg", part(1))
    assert own.deliver(announced).status == 500
    assert topic.messages() == []
    [line] = [line for line in lines() if line["severity"] == "ERROR"]
    assert reason in line["message"]
    assert f"gs://models/{NAME}" in line["message"]
    assert "set modelId" in line["message"]

    # Put right, it works without a restart.
    models.blob(NAME).upload_from_string(file)
    assert own.deliver(announced).status == 200
