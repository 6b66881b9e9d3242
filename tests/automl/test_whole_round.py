"""From a folder of labelled pictures to a deployed model, pictures routed by it, decisions, and a better model.

Everything through the commands and the running line; the local cloud is stopped and started with the new model, as a
user does after `modelId` is put into the stack's file.
"""

import re
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from rich.console import Console

from automl.evaluation.metrics import Evaluation, worst_mistakes
from console.transfer import storage_client
from inspection import layout
from inspection.environment import AUTOML_EMULATOR, STORAGE_EMULATOR, VERTEX_EMULATOR
from inspection.routing import as_score
from local.cloud import LocalCloud
from local.demo.run import wait_for_landing
from local.demo.samples import FOLDERS, OK, samples, write_samples
from local.deploy.program import ROOT
from local.google.models.registry import ModelRegistry
from local.google.models.workshop import Workshop
from tests.automl.factory import Run

pytestmark = pytest.mark.xdist_group("cloud")

PICTURES = 150
SENT = 16
BUCKET = "training-pictures"
COSTS = ("--escaped-defect", 200, "--false-reject", 4, "--reviewer-minute", 0.8, "--least-pictures", 10)


def test_the_whole_round(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    # The command's folders are relative to the repository for the cloud, and to a user's own folder for the models.
    pictures = write_samples(tmp_path, PICTURES, seed=11, by_label=True)
    planted = min((pictures / "test" / FOLDERS[OK]).iterdir())
    wrong = planted.rename(pictures / "test" / "def_front" / planted.name)
    for file in ("Pulumi.yaml", "Pulumi.local.yaml"):
        shutil.copy(ROOT / file, tmp_path)

    with running_line(tmp_path, {}, monkeypatch) as cloud:
        cloud.storage_client().create_bucket(BUCKET)
        file = prepare(run, tmp_path)
        done(run("model", "train", file, "--name", "castings", "--budget", 8, "--yes"))
        deployed = done(run("model", "deploy", "castings", "--yes"))
        model_id = re.findall(r"modelId: (\S+)", deployed)[0]
        done(run("model", "evaluate", "castings", "--test", file, "--out", tmp_path / "report"))
        scores = evaluation(tmp_path / "report")
        assert f"/{wrong.name}" in [m.picture.name[-len(wrong.name) - 1 :] for m in worst_mistakes(scores, 10)]
        assert wrong.name in (tmp_path / "report" / "report.html").read_text()
        done(run("model", "thresholds", tmp_path / "report" / "evaluation.json", *COSTS, "--write", "local"))

    config = yaml.safe_load((tmp_path / "Pulumi.local.yaml").read_text())["config"]
    thresholds: Mapping[str, float] = config["automl-inspection:thresholds"]
    assert set(thresholds) == {"ok", "defect"}
    wrong.rename(planted)

    with running_line(tmp_path, {"modelId": model_id, "thresholds": thresholds}, monkeypatch) as cloud:
        truth = send(cloud)
        folders = wait_for_landing(cloud, truth.keys(), Console(quiet=True))
        assert folders.keys() == truth.keys()
        check_routing(cloud, tmp_path / "trained", model_id, thresholds)
        decided = decide_all(cloud, truth)
        assert len(decided) == list(folders.values()).count("unclear") > 0

        cloud.storage_client().create_bucket(BUCKET)
        file = prepare(run, tmp_path)
        more = f"gs://{BUCKET}/imports/decisions.csv"
        prediction_bucket = f"gs://{cloud.prediction_bucket}"
        # The test set stays what it was, so that both models are measured by the same.
        shares = ("--adding", "--test", 0, "--validation", 0)
        done(run("dataset", "decisions", prediction_bucket, "--out", more, *shares))
        done(run("model", "train", file, more, "--name", "castings_2", "--yes"))
        done(run("model", "deploy", "castings_2", "--yes"))
        right: list[int] = []
        for name in (model_id, "castings_2"):
            done(run("model", "evaluate", name, "--test", file, "--out", tmp_path / "again"))
            found = evaluation(tmp_path / "again")
            right.append(int(found.truth[np.arange(len(found.pictures)), found.best].sum()))
        assert right[1] >= right[0]


@contextmanager
def running_line(folder: Path, config: Mapping[str, object], patch: pytest.MonkeyPatch) -> Generator[LocalCloud]:
    """The whole line, and the commands pointed to it; what is trained is kept below the folder."""
    patch.chdir(ROOT)
    with LocalCloud(folder / "cloud", config=config, trained=folder / "trained") as cloud:
        cloud.start(print)
        patch.setenv(STORAGE_EMULATOR, cloud.storage_url)
        patch.setenv(AUTOML_EMULATOR, cloud.automl_address)
        patch.setenv(VERTEX_EMULATOR, cloud.storage_url)
        patch.setenv("GOOGLE_CLOUD_PROJECT", cloud.project)
        storage_client.cache_clear()
        patch.chdir(folder)
        try:
            yield cloud
        finally:
            storage_client.cache_clear()
            patch.chdir(ROOT)


def done(result: Any) -> str:  # noqa: ANN401  # click's
    assert result.exit_code == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def prepare(run: Run, folder: Path) -> str:
    file = f"gs://{BUCKET}/imports/castings.csv"
    labels = ("--label", "defect=def_front", "--label", "ok=ok_front")
    upload = ("--upload-to", f"gs://{BUCKET}/castings", "--out", file)
    done(run("dataset", "prepare", folder / "casting_data", *labels, *upload))
    return file


def evaluation(folder: Path) -> Evaluation:
    return Evaluation.from_json((folder / "evaluation.json").read_bytes())


def send(cloud: LocalCloud) -> dict[str, str]:
    """New pictures into the inbound bucket; their true labels by name."""
    truth: dict[str, str] = {}
    bucket = cloud.storage_client().bucket(cloud.inbound_bucket)
    for sample in samples(SENT, seed=12):
        bucket.blob(sample.name).upload_from_string(sample.jpeg, content_type="image/jpeg", if_generation_match=0)
        truth[sample.name] = sample.label
    return truth


def check_routing(cloud: LocalCloud, trained: Path, model_id: str, thresholds: Mapping[str, float]):
    """Every picture has the trained model's own score, and lies where its thresholds say."""
    model = Workshop(lambda _uri: b"", ModelRegistry(), folder=trained).model(model_id).model
    for blob in cloud.storage_client().list_blobs(cloud.prediction_bucket):
        metadata = blob.metadata or {}
        assert metadata[layout.MODEL] == model_id
        label, score = next(iter(model.scores(blob.download_as_bytes()).items()))
        assert metadata[layout.PREDICTION_LABEL] == label
        assert float(metadata[layout.PREDICTION_SCORE]) == pytest.approx(score, abs=1e-6)
        folder = label if as_score(score) >= as_score(float(thresholds[label])) else "unclear"
        assert str(blob.name).split("/")[0] == folder


def decide_all(cloud: LocalCloud, truth: Mapping[str, str]) -> list[str]:
    """Decide on every unclear picture as the review app's page does, and rightly."""
    assert cloud.review_url
    decided: list[str] = []
    with httpx.Client(base_url=cloud.review_url, headers={"X-Review-Page": "whole-round"}, timeout=30) as app:
        cursor: str | None = None
        while True:
            wanted = {"count": 20, "cursor": cursor, "held": []}
            queue = app.post("/api/queue", json=wanted).raise_for_status().json()
            for picture in queue["pictures"]:
                decision = {"label": truth[picture["name"]], "claim": picture["claim"], "number": len(decided) + 1}
                app.post(f"/api/pictures/{picture['id']}/decision", json=decision).raise_for_status()
                decided.append(picture["name"])
            cursor = queue["cursor"]
            if not queue["pictures"] and cursor is None:
                return decided
