import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from console import transfer
from console.progress import counting
from console.transfer import TransferError, print_uploaded, split_uri, storage_client, upload
from inspection.environment import STORAGE_EMULATOR
from tests.support.gate import refuse
from tests.support.storage import INSERT, Cloud


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[Path, str]]:
    for i in range(40):
        (tmp_path / f"{i}.jpg").write_bytes(f"picture {i}".encode())
    return [(tmp_path / f"{i}.jpg", f"in/{i}.jpg") for i in range(40)]


def test_every_file_arrives(cloud: Cloud, files: list[tuple[Path, str]]):
    bucket = cloud.bucket()
    progress: list[str] = []
    uploaded = upload(files, bucket, progress=lambda: progress.append(threading.current_thread().name))
    assert (uploaded.sent, uploaded.already_there, uploaded.failed, uploaded.exit_code) == (40, 0, 0, 0)
    assert progress == [threading.current_thread().name] * 40
    assert {str(b.name): b.download_as_bytes() for b in cloud.client.list_blobs(bucket)} == {
        name: path.read_bytes() for path, name in files
    }
    assert cloud.blob(bucket, "in/3.jpg").content_type == "image/jpeg"


def test_what_is_there_is_not_sent_again(cloud: Cloud, files: list[tuple[Path, str]]):
    bucket = cloud.bucket()
    upload(files[:25], bucket)
    generation = cloud.blob(bucket, "in/3.jpg").generation
    cloud.gate.clear()
    uploaded = upload(files, bucket, at_once=4)
    assert (uploaded.sent, uploaded.already_there) == (15, 25)
    assert cloud.blob(bucket, "in/3.jpg").generation == generation
    # Those that start before the first answer are sent in vain, and refused.
    assert cloud.uploads() <= 15 + 4


def test_nothing_is_overwritten(cloud: Cloud, files: list[tuple[Path, str]]):
    bucket = cloud.bucket()
    bucket.blob("in/3.jpg").upload_from_string(b"another")
    uploaded = upload(files, bucket)
    assert (uploaded.sent, uploaded.failed, uploaded.exit_code) == (39, 1, 1)
    assert "in/3.jpg is there with other content" in uploaded.failures[0]
    assert bucket.blob("in/3.jpg").download_as_bytes() == b"another"


def test_a_file_that_fails_is_listed_and_the_others_go_on(
    cloud: Cloud, files: list[tuple[Path, str]], capsys: pytest.CaptureFixture[str]
):
    bucket = cloud.bucket()
    refused = refuse(400, "invalid", "refused on purpose")
    cloud.gate.before[INSERT] = lambda call: call.object == "in/7.jpg" and refused(call)
    files[8][0].unlink()
    uploaded = upload(files, bucket)
    print_uploaded(uploaded)
    told = capsys.readouterr().err
    assert (uploaded.sent, uploaded.failed, uploaded.exit_code) == (38, 2, 1)
    assert "7.jpg" in told
    assert "refused on purpose" in told
    assert "8.jpg" in told
    assert "38 sent, 0 there already, 2 failed; run the same command again" in told
    cloud.gate.reset()
    assert upload(files[:8], bucket).sent == 1


def test_a_bucket_that_is_not_there_ends_it_at_once(cloud: Cloud, files: list[tuple[Path, str]]):
    asked = 0

    def endless() -> Iterator[tuple[Path, str]]:
        nonlocal asked
        while True:
            asked += 1
            yield files[0]

    with pytest.raises(TransferError, match="gs://not-there"):
        upload(endless(), cloud.client.bucket("not-there"), at_once=2)
    assert asked < 100


def test_files_are_read_as_they_are_needed(cloud: Cloud, files: list[tuple[Path, str]]):
    bucket = cloud.bucket()
    ahead: list[int] = []
    done = 0

    def count() -> None:
        nonlocal done
        done += 1

    def watched() -> Iterator[tuple[Path, str]]:
        for i, file in enumerate(files):
            ahead.append(i - done)
            yield file

    upload(watched(), bucket, at_once=3, progress=count)
    assert max(ahead) <= 6


def test_a_server_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, cloud: Cloud, files: list[tuple[Path, str]]
):
    monkeypatch.setattr(transfer, "_RETRY", transfer._RETRY.with_timeout(0.1))  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setenv(STORAGE_EMULATOR, "http://127.0.0.1:1")
    storage_client.cache_clear()
    with pytest.raises(TransferError, match="network"):
        upload(files, storage_client().bucket("b"))


def test_without_credentials_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv(STORAGE_EMULATOR, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    storage_client.cache_clear()
    with pytest.raises(TransferError, match="gcloud auth application-default login"):
        storage_client()


@pytest.mark.parametrize(
    "text",
    [
        "bucket",
        "gs://",
        "gs:///name",
        "s3://bucket",
        "",
        "gs://..",
        "gs://a..b",
        "gs://B",
        "gs://ab",
        "gs://a b/c",
        "gs://b\n",
        "gs://x?y=z",
    ],
)
def test_what_is_no_bucket(text: str):
    with pytest.raises(ValueError, match="gs://BUCKET"):
        split_uri(text)


def test_addresses():
    assert split_uri("gs://bucket") == ("bucket", "")
    assert split_uri("gs://b.example.com/a/c.jpg") == ("b.example.com", "a/c.jpg")


def test_progress_without_a_terminal_is_one_plain_line(capsys: pytest.CaptureFixture[str]):
    with counting("Sending", 1200) as done:
        for _ in range(1200):
            done()
    assert capsys.readouterr().err == "Sending: 1,200 of 1,200\n"
