"""What `inspection send` makes of files and folders that are not as one would like them, and of options that contradict."""

import fcntl
import json
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from google.cloud import storage
from typer.testing import CliRunner, Result

from cli.main import app
from console.files import files_below
from console.transfer import storage_client
from local.google.gate import ApiError, Call, RequestLog
from local.google.http import serve
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore


class Gate(RequestLog):
    """Lets something happen when an object is about to be written."""

    before: Callable[[str], object] = staticmethod(str)

    def enter(self, call: Call) -> None:
        super().enter(call)
        if call.method == "storage.objects.insert" and call.object:
            self.before(call.object)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def bucket(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Bucket]:
    with ObjectStore(tmp_path / "objects") as store, serve(storage_app(store, gate=gate)) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        storage_client.cache_clear()
        yield storage_client().create_bucket("inbound")
    storage_client.cache_clear()


@pytest.fixture
def pictures() -> Iterator[Path]:
    """The working directory of the test. (pytest's own could not be cleared of the long path below.)"""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        (Path(folder) / "line1").mkdir()
        (Path(folder) / "line1" / "good.jpg").write_bytes(b"good")
        yield Path(folder)


def send(*words: str) -> Result:
    result = CliRunner().invoke(app, ["send", *words], env={"COLUMNS": "300"}, catch_exceptions=False)
    assert "Traceback" not in result.stderr
    return result


def names(bucket: storage.Bucket) -> list[str]:
    return [str(blob.name) for blob in bucket.list_blobs()]


def test_a_folder_is_sent_with_the_folders_below_it(bucket: storage.Bucket, pictures: Path):
    (pictures / "line1" / "a").mkdir()
    (pictures / "line1" / "a" / "b.jpg").write_bytes(b"b")
    result = send("line1", "--to", "gs://inbound/today/")
    assert result.exit_code == 0, result.stderr
    assert names(bucket) == ["today/line1/a/b.jpg", "today/line1/good.jpg"]


def test_what_is_left_out_of_a_folder_is_named(bucket: storage.Bucket, pictures: Path):
    line1 = pictures / "line1"
    (pictures / "elsewhere").mkdir()
    (pictures / "elsewhere" / "more.jpg").write_bytes(b"more")
    (line1 / "linked").symlink_to(pictures / "elsewhere")
    (line1 / "loop").symlink_to(line1)
    (line1 / "gone.jpg").symlink_to("nowhere.jpg")
    (line1 / "itself.jpg").symlink_to("itself.jpg")
    (line1 / "linked.jpg").symlink_to("good.jpg")
    os.mkfifo(line1 / "pipe")
    (line1 / os.fsdecode(b"\xff.jpg")).write_bytes(b"no name in UTF-8")
    result = send("line1", "--to", "gs://inbound")
    assert names(bucket) == ["line1/good.jpg", "line1/linked.jpg"]
    assert result.exit_code == 1
    assert "2 sent, 0 there already, 0 failed" in result.stderr
    told = [line for line in result.stderr.splitlines() if line.startswith("Left out: ")]
    assert len(told) == 6
    for name, why in {
        "line1/linked": "a link to a folder",
        "line1/loop": "a link to a folder",
        "line1/gone.jpg": "No such file",
        "line1/itself.jpg": "Too many levels",
        "line1/pipe": "no file and no folder",
        ".jpg": "not in UTF-8",
    }.items():
        assert any(f"{name}: " in line and why in line for line in told), (name, told)


def test_a_linked_folder_that_is_given_itself_is_sent(bucket: storage.Bucket, pictures: Path):
    (pictures / "link").symlink_to("line1")
    assert send("link", "--to", "gs://inbound").exit_code == 0
    assert names(bucket) == ["line1/good.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(bucket: storage.Bucket, pictures: Path):
    """Its path is longer than the operating system takes: nobody can, whatever the permissions."""
    with chdir("line1"):
        for _ in range(20):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
        Path("part.jpg").write_bytes(b"part")
    result = send("line1", "--to", "gs://inbound")
    assert names(bucket) == ["line1/good.jpg"]
    assert result.exit_code == 1
    assert f"Left out: line1/{'d' * 250}/" in result.stderr
    assert "d: File name too long" in result.stderr


def test_a_folder_that_is_gone_when_it_is_its_turn_is_named(pictures: Path):
    (pictures / "line1" / "z").mkdir()
    told: list[str] = []
    files = files_below(Path("line1"), told.append, print)
    assert next(files) == Path("line1/good.jpg")
    (pictures / "line1" / "z").rmdir()
    assert list(files) == []
    assert told == ["line1/z: No such file or directory"]


def test_a_folder_of_which_nothing_can_be_sent_says_why(bucket: storage.Bucket, pictures: Path):
    (pictures / "links").mkdir()
    (pictures / "links" / "line1").symlink_to(pictures / "line1")
    result = send("links", "--to", "gs://inbound")
    assert result.exit_code == 1
    assert "Left out: links/line1: a link to a folder" in result.stderr
    assert "there is no file in what was given" in result.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nowhere.jpg", "No such file"),
        ("a" * 300 + ".jpg", "File name too long"),
        ("line1/good.jpg/x", "Not a directory"),
        ("empty", "there is no file in what was given"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_file_is_refused(bucket: storage.Bucket, pictures: Path, given: str, told: str):
    (pictures / "empty").mkdir()
    result = send(given, "--to", "gs://inbound")
    assert result.exit_code == 1
    assert told in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("", "--to", "gs://inbound"), "not a name of a file or folder"),
        (("line1", "--to", ""), "'' is no bucket"),
        (("line1", "--to", "gs://.."), "'gs://..' is no bucket"),
        (("line1", "--stack", ""), "not the name of a stack"),
        (("line1", "--stack", " "), "not the name of a stack"),
        (("line1", "--stack", "dev", "--to", "gs://inbound"), "either --stack or --to"),
        (("line1", "--stack", "", "--to", ""), "either --stack or --to"),
    ],
)
def test_what_is_given_wrongly_is_refused_and_nothing_is_sent(
    bucket: storage.Bucket, pictures: Path, words: tuple[str, ...], told: str
):
    result = send(*words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert names(bucket) == []


def write_parts(folder: Path) -> list[str]:
    """Thirty more pictures; the names that all have in the bucket, in their order."""
    for number in range(30):
        (folder / f"part{number:02}.jpg").write_bytes(f"part {number}".encode())
    return [f"line1/{path.name}" for path in sorted(folder.iterdir())]


def not_sent(result: Result, wanted: list[str]) -> list[str]:
    """What the command says is still to be sent: failed ones, and all from some file on."""
    assert "Send only what is named above again: a picture that is sent twice lands twice." in result.stderr
    assert "run the same command" not in result.stderr
    failed = [name for name in wanted if f"{name} -> gs://" in result.stderr]
    rest = re.search(r"^Not sent: (\d+), from (\S+) on, ", result.stderr, re.MULTILINE)
    if rest is None:
        return failed
    assert len(wanted[wanted.index(rest[2]) :]) == int(rest[1])
    return failed + wanted[wanted.index(rest[2]) :]


def test_what_fails_is_named_and_only_that_is_to_be_sent_again(bucket: storage.Bucket, pictures: Path, gate: Gate):
    """A line takes pictures out of the bucket: what is missing there may have been sent."""
    wanted = write_parts(pictures / "line1")

    def refuse(name: str) -> None:
        if name in wanted[5:8]:
            raise ApiError(400, "invalid", "refused on purpose")

    gate.before = refuse
    result = send("line1", "--to", "gs://inbound")
    assert result.exit_code == 1
    assert "28 sent, 0 there already, 3 failed" in result.stderr
    assert "refused on purpose" in result.stderr
    assert not_sent(result, wanted) == wanted[5:8]


def test_what_is_not_sent_any_more_when_every_other_would_fail_too_is_named(
    bucket: storage.Bucket, pictures: Path, gate: Gate
):
    wanted = write_parts(pictures / "line1")
    taken: list[str] = []

    def forbid_later(name: str) -> None:
        if len(taken) >= 7:
            raise ApiError(403, "forbidden", "no longer")
        taken.append(name)

    gate.before = forbid_later
    result = send("line1", "--to", "gs://inbound", "--at-once", "3")
    assert result.exit_code == 1
    assert "7 sent, 0 there already, " in result.stderr
    assert sorted(names(bucket) + not_sent(result, wanted)) == wanted


def test_after_ctrl_c_it_says_exactly_what_is_sent(bucket: storage.Bucket, pictures: Path, gate: Gate):
    wanted = write_parts(pictures / "line1")
    main = threading.main_thread().ident
    assert main

    def interrupt(name: str) -> None:
        if name == wanted[6]:
            signal.pthread_kill(main, signal.SIGINT)

    gate.before = interrupt
    before = signal.getsignal(signal.SIGINT)
    result = send("line1", "--to", "gs://inbound", "--at-once", "2")
    assert result.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    sent = names(bucket)
    assert f"{len(sent)} sent, 0 there already, 0 failed" in result.stderr
    assert 6 < len(sent) < len(wanted)
    assert sorted(sent + not_sent(result, wanted)) == wanted


def test_hidden_files_of_a_folder_are_counted_and_not_sent(bucket: storage.Bucket, pictures: Path):
    line1 = pictures / "line1"
    (line1 / ".thumbnails").mkdir()
    for name in (".DS_Store", ".thumbnails/good.jpg", "Thumbs.db", "desktop.ini"):
        (line1 / name).write_bytes(b"of a desktop")
    result = send("line1", "--to", "gs://inbound")
    assert result.exit_code == 0, result.stderr
    assert names(bucket) == ["line1/good.jpg"]
    assert "Left out, as hidden: 4, the first is line1/.DS_Store" in result.stderr
    assert send("line1/.DS_Store", "--to", "gs://inbound").exit_code == 0
    assert names(bucket) == [".DS_Store", "line1/good.jpg"]


def test_a_bucket_is_that_of_the_local_cloud_where_one_runs_here(
    bucket: storage.Bucket, pictures: Path, monkeypatch: pytest.MonkeyPatch
):
    url = os.environ["STORAGE_EMULATOR_HOST"]
    for name in ("STORAGE_EMULATOR_HOST", "AUTOML_EMULATOR_HOST", "AIPLATFORM_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.setenv(name, "to be set back after the test")
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "nowhere.json")
    storage_client.cache_clear()
    home = pictures / ".local"
    (home / "cloud").mkdir(parents=True)
    state = {"storageUrl": url, "automl": "127.0.0.1:1", "project": "here"}
    (home / "cloud" / "state.json").write_text(json.dumps(state))
    with (home / "cloud.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = send("line1", "--to", "gs://inbound")
    assert result.exit_code == 0, result.stderr
    assert "Using the buckets of the local cloud (here)" in result.stderr
    assert names(bucket) == ["line1/good.jpg"]
