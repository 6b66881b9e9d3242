"""`inspection model train --backend own` as a user types it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automl.own.features import session
from inspection.model_file import ModelCard
from tests.automl.test_own_model import plates


def train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).parent / "inspection"),
        "model",
        "train",
        "--name",
        "parts",
        "--backend",
        "own",
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, (jpeg, (label,)) in enumerate(zip(*plates(20), strict=True)):
        path = tmp_path / "parts" / label / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
    return tmp_path


def test_a_folder_of_labelled_folders_becomes_a_model_file(folder: Path):
    (folder / "parts" / "ok" / "broken.jpg").write_bytes(b"no image")
    done = train(folder, "parts", "--size", "128")
    assert done.returncode == 0, done.stderr
    assert "Left out: ok/broken.jpg: " in done.stderr
    assert "modelId: gs://BUCKET/models/parts.onnx" in done.stdout
    file = (folder / "parts.onnx").read_bytes()
    card = ModelCard.from_metadata(session(file, 1).get_modelmeta().custom_metadata_map)
    assert (card.labels, card.figures["images"]) == (("defect", "ok"), 40)
    assert (folder / "parts.svg").read_text().startswith("<?xml")

    good = train(folder, "parts", "--only-good", "--out", "good.onnx", "--size", "128")
    assert good.returncode == 0, good.stderr
    metadata = session((folder / "good.onnx").read_bytes(), 1).get_modelmeta().custom_metadata_map
    assert ModelCard.from_metadata(metadata).figures["images"] == 20


def test_an_interrupted_training_goes_on_where_it_was_and_gives_the_same_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1764000000")
    command = [str(Path(sys.executable).parent / "inspection"), "model", "train", "parts", "--name", "parts"]
    first = subprocess.Popen(
        [*command, "--backend", "own", "--size", "128"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    cache = folder / ".inspection" / "features"
    deadline = time.monotonic() + 60
    while not any(cache.glob("*.npy")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGINT)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130, errors
    assert "The same command goes on" in errors
    assert not (folder / "parts.onnx").exists()
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("*.npy")}

    assert train(folder, "parts", "--size", "128").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    again = (folder / "parts.onnx").read_bytes()
    assert train(folder, "parts", "--size", "128", "--out", "other.onnx").returncode == 0
    assert (folder / "other.onnx").read_bytes() == again


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("parts", "--out", "a.txt"), 2, "'a.txt' does not end in .onnx"),
        (("--out", "a.onnx"), 2, "SOURCE"),
        (("parts", "--out", "a.onnx", "--size", "100"), 2, "multiples of 32"),
        (("nothing", "--out", "a.onnx"), 1, "'nothing' is not a folder and not an import file"),
        (("parts/ok", "--out", "a.onnx"), 1, "one sub-folder for each"),
    ],
)
def test_what_cannot_be_is_named(folder: Path, arguments: tuple[str, ...], code: int, reason: str):
    done = train(folder, *arguments)
    assert done.returncode == code
    assert reason in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (folder / "a.onnx").exists()
