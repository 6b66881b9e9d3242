"""A training that is stopped anywhere and taken up again: nothing is created twice."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from google.cloud import storage

from automl.dataset.import_file import Format
from automl.services import training_run as training
from automl.services.automl_vision import AutomlVision
from automl.services.vertex_ai import VertexAi
from console.transfer import storage_client
from inspection.model_id import Backend
from local.google.models.classifier import train
from tests.automl.factory import Run
from tests.automl.model_cloud import PROJECT, ModelCloud, put_import_file, put_pictures

FORMATS = {Backend.AUTOML: Format.AUTOML_CSV, Backend.VERTEX: Format.VERTEX_JSONL}
SERVICES = {Backend.AUTOML: AutomlVision, Backend.VERTEX: VertexAi}
CREATING = {
    Backend.AUTOML: ("automl.datasets.create", "automl.datasets.import", "automl.models.create"),
    Backend.VERTEX: ("aiplatform.datasets.create", "aiplatform.datasets.import", "aiplatform.trainingPipelines.create"),
}
NUMBERS = count()


@pytest.fixture
def bucket(models: ModelCloud) -> storage.Bucket:
    return storage_client().create_bucket(f"resumed-{next(NUMBERS)}")


@pytest.fixture(params=list(FORMATS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
def file(bucket: storage.Bucket, backend: Backend) -> str:
    return put_import_file(bucket, put_pictures(bucket, {"red": 10, "blue": 10}), FORMATS[backend])


@pytest.fixture
def name() -> str:
    return f"resumed{next(NUMBERS)}"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Trainings wait until it is set."""
    release = threading.Event()

    def wait_first(*arguments: Any, **more: Any) -> object:  # noqa: ANN401  # passed on
        release.wait(60)
        return train(*arguments, **more)

    monkeypatch.setattr("local.google.models.training.train", wait_first)
    yield release
    release.set()


def state(name: str) -> dict[str, dict[str, object]]:
    return json.loads(training.state_file(name, PROJECT).read_text())["steps"]


def assert_created_once(models: ModelCloud, backend: Backend, name: str):
    assert [models.calls(method) for method in CREATING[backend]] == [1, 1, 1]
    assert len([each for each in models.workshop.models("") if each.display_name == name]) == 1


def test_ctrl_c_leaves_the_training_going_on_and_resume_goes_on_with_it(
    file: str, models: ModelCloud, backend: Backend, name: str, run: Run, held: threading.Event
):
    # A shell starts what runs in the background with this signal ignored, and so would the command be.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listening}; from cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "model", "train", file, "--name", name, "--yes"],
        env={**os.environ, **models.environment},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("Training"):
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"`inspection model train --name {name} --resume`" in " ".join(told.split())
    assert "Traceback" not in told

    again = run("model", "train", file, "--name", name, "--yes")
    assert again.exit_code == 1
    assert "--resume goes on with it" in again.stderr

    held.set()
    resumed = run("model", "train", "--name", name, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert f"Next: inspection model deploy {name}" in resumed.stdout
    assert_created_once(models, backend, name)


def test_ctrl_c_while_a_request_is_answered_waits_for_the_answer(
    file: str, models: ModelCloud, backend: Backend, name: str, run: Run, monkeypatch: pytest.MonkeyPatch
):
    begin: Callable[..., str] = SERVICES[backend].begin_training

    def begin_while_the_key_is_pressed(*arguments: object) -> str:
        signal.raise_signal(signal.SIGINT)
        return begin(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SERVICES[backend], "begin_training", begin_while_the_key_is_pressed)
        assert run("model", "train", file, "--name", name, "--yes").exit_code == 130
    assert state(name)["training"]["operation"], "the answer is noted"
    assert run("model", "train", "--name", name, "--resume").exit_code == 0
    assert_created_once(models, backend, name)


@pytest.mark.parametrize("step", ["begin_data_set", "begin_import", "begin_training"])
def test_killed_between_a_request_and_its_answer_nothing_is_created_twice(
    file: str,
    models: ModelCloud,
    backend: Backend,
    name: str,
    run: Run,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
):
    class KilledError(BaseException):
        pass

    begin: Callable[..., str] = getattr(SERVICES[backend], step)

    def begin_and_die(*arguments: object) -> str:
        begin(*arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(SERVICES[backend], step, begin_and_die)
        with pytest.raises(KilledError):
            run("model", "train", file, "--name", name, "--yes")
    resumed = run("model", "train", "--name", name, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert_created_once(models, backend, name)


def test_pictures_that_are_missing_stop_it_before_money_is_spent_and_resume_goes_on_without_them(
    bucket: storage.Bucket, models: ModelCloud, backend: Backend, name: str, run: Run
):
    file = put_import_file(bucket, put_pictures(bucket, {"red": 12, "blue": 12}), FORMATS[backend])
    bucket.blob("red/7.png").delete()
    bucket.blob("blue/7.png").upload_from_string(b"no picture")
    stopped = run("model", "train", file, "--name", name, "--yes")
    assert stopped.exit_code == 1
    assert f"{file} line 8: gs://{bucket.name}/red/7.png does not exist" in stopped.stderr
    assert f"{file} line 20: gs://{bucket.name}/blue/7.png is no image" in stopped.stderr
    assert models.calls(CREATING[backend][2]) == 0

    assert run("model", "train", "--name", name, "--resume").exit_code == 0
    (data,) = (each for each in models.workshop.data_sets("") if each.display_name == name)
    assert len(data.examples) == 22
    assert_created_once(models, backend, name)


def test_a_failed_step_is_tried_again(
    bucket: storage.Bucket, models: ModelCloud, backend: Backend, name: str, run: Run
):
    labels = put_pictures(bucket, {"red": 10, "blue": 10})
    file = put_import_file(bucket, labels, FORMATS[backend])
    kept = {uri: bucket.blob(uri.partition(f"{bucket.name}/")[2]).download_as_bytes() for uri in labels}
    for uri in kept:
        bucket.blob(uri.partition(f"{bucket.name}/")[2]).delete()
    failed = run("model", "train", file, "--name", name, "--yes")
    assert failed.exit_code == 1
    assert "No image could be imported" in failed.stderr
    for uri, data in kept.items():
        bucket.blob(uri.partition(f"{bucket.name}/")[2]).upload_from_string(data)
    assert run("model", "train", "--name", name, "--resume").exit_code == 0
    assert models.calls(CREATING[backend][0]) == models.calls(CREATING[backend][2]) == 1


def test_a_training_is_cancelled(
    file: str, models: ModelCloud, backend: Backend, name: str, run: Run, held: threading.Event
):
    class InterruptedWaitError(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptedWaitError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("automl.commands.model.train.watch_step", _stop_at_training(interrupt))
        with pytest.raises(InterruptedWaitError):
            run("model", "train", file, "--name", name, "--yes")
    assert run("model", "cancel", name).exit_code == 0
    held.set()
    resumed = run("model", "train", "--name", name, "--resume")
    assert resumed.exit_code == 1
    assert "ancel" in resumed.stderr
    assert not [each for each in models.workshop.models("") if each.display_name == name]
    nothing = run("model", "cancel", name)
    assert nothing.exit_code == 1
    assert "is going on" in nothing.stderr


def _stop_at_training(interrupt: Callable[..., None]) -> Callable[..., object]:
    from automl.commands.model.terminal import watch_step

    def watch(step: str, ask: Callable[[], object]) -> object:
        return interrupt() if step == training.TRAINING else watch_step(step, ask)  # pyright: ignore[reportArgumentType]

    return watch


def test_what_a_restarted_local_cloud_has_forgotten_is_begun_anew(
    file: str, models: ModelCloud, backend: Backend, name: str, run: Run
):
    assert run("model", "train", file, "--name", name, "--yes").exit_code == 0
    (made,) = (each for each in models.workshop.models("") if each.display_name == name)
    (data,) = (each for each in models.workshop.data_sets("") if each.display_name == name)
    models.workshop.delete_model(made.name)
    models.workshop.delete_data_set(data.name)
    resumed = run("model", "train", "--name", name, "--resume")
    assert resumed.exit_code == 1
    assert "begin it without --resume" in resumed.stderr
    assert run("model", "train", file, "--name", name, "--yes").exit_code == 0


def test_a_name_that_someone_else_has_used_is_refused(
    file: str, models: ModelCloud, backend: Backend, name: str, run: Run
):
    parent = f"projects/{PROJECT}/locations/us-central1/datasets"
    identifier = "ICN77" if backend is Backend.AUTOML else "77"
    models.workshop.create_data_set(f"{parent}/{identifier}", name, multi_label=False)
    result = run("model", "train", file, "--name", name, "--yes")
    assert result.exit_code == 1
    assert f"{parent}/{identifier} already" in result.stderr
    assert not models.calls(CREATING[backend][0])


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_state_that_cannot_be_read_is_named(models: ModelCloud, run: Run, text: str):
    file = training.state_file("broken", PROJECT)
    (Path() / file).parent.mkdir(parents=True)
    file.write_text(text)
    result = run("model", "train", "--name", "broken", "--resume")
    assert result.exit_code == 1
    assert f"{file} does not tell of a training" in result.stderr
