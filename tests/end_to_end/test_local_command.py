"""`inspection local` and `inspection send` as a user runs them, in processes of their own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from local.demo.samples import samples, write_samples

pytestmark = pytest.mark.xdist_group("local command")

INSPECTION = str(Path(sys.executable).with_name("inspection"))
CACHE = Path(__file__).resolve().parents[2] / ".local" / "cache"
SECONDS_TO_WAIT = 120


def wait_until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not what():
        assert process.poll() is None, f"it ended: {process.communicate()}"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to run the command in; what was once installed or trained is taken over."""
    CACHE.mkdir(parents=True, exist_ok=True)
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "cache").symlink_to(CACHE)
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [INSPECTION, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_the_demo_sends_a_folder_shows_where_each_landed_and_leaves_nothing_behind(folder: Path) -> None:
    pictures = write_samples(folder / "mine", 6, 21)
    (pictures / "readme.txt").write_text("no picture")
    demo = start(folder, "local", "demo", "--images", str(pictures))
    started: list[psutil.Process] = []

    def pictures_land() -> bool:
        started[:] = psutil.Process(demo.pid).children(recursive=True) or started
        return demo.poll() is not None

    while not pictures_land():
        time.sleep(0.05)
    output, errors = demo.communicate()

    assert demo.returncode == 0, errors
    assert "7 of 7 pictures landed" in " ".join(output.split())
    assert "rejected/" in output
    assert ("reviewer@example.com looked at" in output) == ("unclear/" in output)
    assert "human_decided/" in output or "No picture is unclear" in output
    # Ended processes may still wait for the operating system to take note of it.
    _, alive = psutil.wait_procs(started, timeout=SECONDS_TO_WAIT)
    assert alive == []
    assert [path.name for path in (folder / ".local").iterdir()] == ["cache"]


def test_a_demo_without_pictures_is_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    demo = start(folder, "local", "demo", "--images", "empty")
    _, errors = demo.communicate(timeout=SECONDS_TO_WAIT)
    assert demo.returncode == 2
    assert "there is no file in empty" in errors


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_place_that_is_taken_is_told(tmp_path: Path, command: str) -> None:
    (tmp_path / ".local").write_text("a file")
    refused = start(tmp_path, "local", command)
    _, errors = refused.communicate(timeout=SECONDS_TO_WAIT)
    assert refused.returncode == 1
    assert errors.startswith("Error: ")
    assert "'.local" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_running_cloud_takes_pictures_and_leaves_no_process_whatever_it_is_stopped_by(
    folder: Path, how: signal.Signals
) -> None:
    running = start(folder, "local", "up")
    state_file = folder / ".local" / "cloud" / "state.json"
    wait_until(state_file.exists, running)
    state = json.loads(state_file.read_text())
    (sample,) = samples(1, seed=22)
    picture = folder / "part #7.jpeg"
    picture.write_bytes(sample.jpeg)
    many = write_samples(folder / "many", 100, 23)

    refused = subprocess.run([INSPECTION, "local", "up"], cwd=folder, capture_output=True, text=True, check=False)
    sent = subprocess.run(
        [INSPECTION, "send", str(picture), str(many)], cwd=folder, capture_output=True, text=True, check=False
    )
    started = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(how)
    output, errors = running.communicate()
    _, alive = psutil.wait_procs(started, timeout=SECONDS_TO_WAIT)

    assert sent.returncode == 0, sent.stderr
    assert "101 sent" in sent.stderr
    assert errors == "", "it ends quietly, though most of these pictures were still under way"
    assert refused.returncode == 1
    assert f"process {running.pid}" in refused.stderr
    assert state["outputs"]["inboundBucket"] in output
    assert f"Review app      {state['outputs']['reviewUrl']}" in output
    assert state["outputs"]["reviewUrl"].startswith("http://127.0.0.1:")
    assert len(started) >= 8, "two functions and two services, each under its guard"
    assert alive == []
    gone = subprocess.run([INSPECTION, "send", str(picture)], cwd=folder, capture_output=True, text=True, check=False)
    assert gone.returncode == 1, "a state file that was left behind is no running cloud"
    assert "make local" in gone.stderr


def test_a_demo_that_is_stopped_before_it_can_tell_does_not_succeed(folder: Path) -> None:
    demo = start(folder, "local", "demo")
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.send_signal(signal.SIGTERM)
    output, errors = demo.communicate(timeout=SECONDS_TO_WAIT)
    assert demo.returncode == 130
    assert "Stopped." in output
    assert "Traceback" not in errors


def test_send_says_what_is_missing(folder: Path) -> None:
    nowhere = subprocess.run(
        [INSPECTION, "send", "picture.jpg"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert nowhere.returncode == 1
    assert "make local" in nowhere.stderr
    wrong = subprocess.run(
        [INSPECTION, "send", "picture.jpg", "--to", "bucket"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "gs://" in wrong.stderr
