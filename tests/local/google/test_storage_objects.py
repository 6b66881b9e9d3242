"""Uploads, downloads, names, copies and metadata, through the real client; and what the client never sends."""

import base64
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import google_crc32c
import pytest
import requests
from google.api_core.exceptions import BadRequest, Forbidden, GoogleAPICallError, NotFound
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse

from local.google.gate import Call
from local.google.storage.records import MAX_METADATA_BYTES, MAX_NAME_BYTES
from local.google.storage.store import ObjectStore
from tests.local.conftest import FailingGate, LocalStorage, existing

QUANTUM = 256 * 1024
PICTURE = bytes(range(256)) * 40 + b"\r"
CAMERA = "camera@factory.iam.gserviceaccount.com"

NAMES = [
    "plain.jpg",
    "folder/sub folder/a.jpg",
    "//",
    "a/",
    "#1?x=1&y=2;z",
    "100%",
    "a%2Fb",
    "a+b c",
    """it's "quoted" \\ <b>&amp;""",
    "Prüfstück Öl.jpg",
    "検査/部品.jpg",
    "\U0001f52c\ttab",
    "o",
    "rewriteTo/b/x/o/y",
    "é" * (MAX_NAME_BYTES // 2),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_of_any_kind_survives_every_operation(name: str, bucket: storage.Bucket, local_storage: LocalStorage):
    for chunk_size in (None, QUANTUM):
        bucket.blob(name, chunk_size=chunk_size).upload_from_string(PICTURE)
    blob = existing(bucket, name)
    assert blob.name == name
    assert blob.download_as_bytes() == PICTURE
    assert requests.get(blob.media_link, timeout=10).content == PICTURE
    assert requests.get(blob.self_link, timeout=10).json()["name"] == name
    assert [listed.name for listed in bucket.list_blobs()] == [name]
    moved = bucket.move_blob(blob, name[:-1] + "_")
    bucket.blob(name).rewrite(moved)
    assert bucket.blob(name).exists()
    bucket.blob(name).delete()
    assert [listed.name for listed in bucket.list_blobs()] == [name[:-1] + "_"]
    url = f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name={quote(name, safe='')}"
    assert requests.post(url, data=b"", timeout=10).json()["name"] == name


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME_BYTES + 1), "é" * 513, "a\nb", "a\rb", ".", ".."], ids=ascii)
@pytest.mark.parametrize("kind", ["media", "multipart", "resumable"])
def test_what_cannot_be_a_name_is_refused(name: str, kind: str, bucket: storage.Bucket, local_storage: LocalStorage):
    url = f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?uploadType={kind}"
    if kind == "multipart":
        body = f"--x\r\n\r\n{json.dumps({'name': name})}\r\n--x\r\n\r\nabc\r\n--x--".encode()
        answer = requests.post(url, body, headers={"content-type": "multipart/related; boundary=x"}, timeout=10)
    else:
        answer = requests.post(f"{url}&name={quote(name, safe='')}", timeout=10)
    assert answer.status_code == 400
    assert "name" in answer.json()["error"]["message"]
    assert list(bucket.list_blobs()) == []


def test_a_path_that_is_no_utf8_is_refused(bucket: storage.Bucket, local_storage: LocalStorage):
    answer = requests.get(f"{local_storage.url}/storage/v1/b/{bucket.name}/o/%ff", timeout=10)
    assert answer.status_code == 400
    body = b'--x\n\n{"name": "\\ud800"}\n--x\n\nabc\n--x--'
    url = f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
    answer = requests.post(url, body, headers={"content-type": "multipart/related; boundary=x"}, timeout=10)
    assert answer.status_code == 400


def test_a_resource_tells_what_was_uploaded(bucket: storage.Bucket):
    blob = bucket.blob("image.jpg")
    blob.metadata = {"camera": "Süd 1"}
    blob.cache_control = "no-store"
    blob.upload_from_string(PICTURE, content_type="image/jpeg")
    read = existing(bucket, "image.jpg")
    assert read.size == len(PICTURE)
    assert read.content_type == "image/jpeg"
    assert read.metadata == {"camera": "Süd 1"}
    assert read.cache_control == "no-store"
    assert read.md5_hash == base64.b64encode(hashlib.md5(PICTURE).digest()).decode()
    assert read.crc32c == base64.b64encode(google_crc32c.Checksum(PICTURE).digest()).decode()
    assert (read.metageneration, read.time_created) == (1, read.updated)
    etag = read.etag
    read.metadata = {"seen": "yes"}
    read.patch()
    assert read.metageneration == 2
    assert read.etag != etag
    assert read.updated >= read.time_created
    assert read.metadata == {"camera": "Süd 1", "seen": "yes"}
    read.metadata = {"camera": None}
    read.patch()
    assert existing(bucket, "image.jpg").metadata == {"seen": "yes"}


def test_generations_grow_and_a_new_one_replaces_the_old_content(bucket: storage.Bucket):
    blob = bucket.blob("image.jpg")
    generations: list[int] = []
    for number in range(5):
        blob.upload_from_string(f"{number}")
        generations.append(existing(bucket, "image.jpg").generation)
    assert generations == sorted(set(generations))
    assert blob.download_as_bytes() == b"4"


@pytest.mark.parametrize("size", [0, 1, QUANTUM - 1, QUANTUM, QUANTUM + 1, 5 * QUANTUM + 17])
def test_a_resumable_upload_in_small_chunks_arrives_whole(size: int, bucket: storage.Bucket):
    data = (PICTURE * (size // len(PICTURE) + 1))[:size]
    blob = bucket.blob("large.bin", chunk_size=QUANTUM)
    blob.metadata = {"camera": "1"}
    blob.upload_from_string(data, content_type="image/tiff")
    read = existing(bucket, "large.bin")
    assert read.download_as_bytes() == data
    assert (read.content_type, read.metadata) == ("image/tiff", {"camera": "1"})


def test_a_large_upload_and_download_stream(bucket: storage.Bucket, tmp_path: Path):
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(PICTURE * 2000)  # 20 MB
    bucket.blob("large").upload_from_filename(sent)
    bucket.blob("large").download_to_filename(received)
    assert received.read_bytes() == sent.read_bytes()
    assert (
        bucket.blob("large").download_as_bytes(start=5_000_000, end=7_500_000) == sent.read_bytes()[5_000_000:7_500_001]
    )


def test_ranges(bucket: storage.Bucket, local_storage: LocalStorage):
    bucket.blob("image").upload_from_string(b"0123456789")
    url = f"{local_storage.url}/storage/v1/b/{bucket.name}/o/image?alt=media"

    def get(asked: str) -> tuple[int, bytes, str | None]:
        answer = requests.get(url, headers={"range": asked}, timeout=10)
        return answer.status_code, answer.content, answer.headers.get("content-range")

    assert get("bytes=2-4") == (206, b"234", "bytes 2-4/10")
    assert get("bytes=7-") == (206, b"789", "bytes 7-9/10")
    assert get("bytes=-3") == (206, b"789", "bytes 7-9/10")
    assert get("bytes=8-99") == (206, b"89", "bytes 8-9/10")
    assert get("lines=1-2") == (200, b"0123456789", None)
    for unsatisfiable in ("bytes=10-", "bytes=99-100", "bytes=5-4"):
        status, _, total = get(unsatisfiable)
        assert (status, total) == (416, "bytes */10")


class Resumable:
    """A resumable upload by hand, for what the client never does."""

    def __init__(self, url: str, bucket: storage.Bucket, **headers: str) -> None:
        started = requests.post(
            f"{url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=x", headers=headers, timeout=10
        )
        started.raise_for_status()
        self.location = started.headers["location"]

    def put(self, content_range: str | None, data: bytes = b"") -> requests.Response:
        headers = {} if content_range is None else {"content-range": content_range}
        return requests.put(self.location, data, headers=headers, timeout=10)


def test_a_resumable_upload_can_be_asked_and_taken_up_again(bucket: storage.Bucket, local_storage: LocalStorage):
    upload = Resumable(local_storage.url, bucket)
    empty = upload.put("bytes */*")
    assert (empty.status_code, empty.headers.get("range")) == (308, None)
    part = upload.put(f"bytes 0-{QUANTUM - 1}/*", b"a" * QUANTUM)
    assert (part.status_code, part.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    assert upload.put(f"bytes */{QUANTUM + 5}").headers["range"] == f"bytes=0-{QUANTUM - 1}"
    assert bucket.get_blob("x") is None
    ahead = upload.put(f"bytes {QUANTUM + 1}-{QUANTUM + 4}/{QUANTUM + 5}", b"bbbb")
    assert ahead.status_code == 400
    # Overlaps with what has arrived: a client that never got the answer.
    done = upload.put(f"bytes {QUANTUM - 2}-{QUANTUM + 4}/{QUANTUM + 5}", b"aabbbbb")
    assert (done.status_code, done.json()["size"]) == (200, str(QUANTUM + 5))
    assert upload.put("bytes */*").json()["generation"] == done.json()["generation"]
    assert bucket.blob("x").download_as_bytes() == b"a" * QUANTUM + b"bbbbb"


def test_a_resumable_upload_in_one_request_or_of_a_size_known_at_last(
    bucket: storage.Bucket, local_storage: LocalStorage
):
    assert Resumable(local_storage.url, bucket).put(None, b"whole").json()["size"] == "5"
    assert bucket.blob("x").download_as_bytes() == b"whole"
    upload = Resumable(local_storage.url, bucket)
    upload.put(f"bytes 0-{QUANTUM - 1}/*", b"c" * QUANTUM)
    assert upload.put(f"bytes */{QUANTUM}").status_code == 200
    assert bucket.blob("x").download_as_bytes() == b"c" * QUANTUM


def test_a_request_that_is_sent_again_while_the_first_runs_does_no_harm(
    bucket: storage.Bucket, local_storage: LocalStorage
):
    data = PICTURE * 300  # 3 MB: several blocks
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            upload = Resumable(local_storage.url, bucket)
            sent = [pool.submit(upload.put, f"bytes 0-{len(data) - 1}/{len(data)}", data) for _ in range(6)]
            answers = [future.result() for future in sent]
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.json()["generation"] for answer in answers}) == 1
            assert bucket.blob("x").download_as_bytes() == data


def test_a_cancelled_or_wrong_resumable_upload_leaves_nothing(bucket: storage.Bucket, local_storage: LocalStorage):
    upload = Resumable(local_storage.url, bucket)
    assert requests.delete(upload.location, timeout=10).status_code == 499
    assert upload.put("bytes */*").status_code == 404
    assert Resumable(local_storage.url, bucket).put("bytes 0-9/*", b"0123456789").status_code == 400
    assert Resumable(local_storage.url, bucket).put("bytes 0-9/10", b"012").status_code == 400
    assert Resumable(local_storage.url, bucket).put("nonsense", b"012").status_code == 400
    declared = Resumable(local_storage.url, bucket, **{"x-upload-content-length": "4"})
    assert declared.put("bytes 0-2/3", b"012").status_code == 400
    assert bucket.get_blob("x") is None


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"], ids=["CR LF", "LF"])
@pytest.mark.parametrize("content", [b"", b"\r", b"\n", b"\r\n", b"--x", b"\n--", b"a" * 3_000_000 + b"\r"], ids=len)
def test_a_multipart_body_is_read_to_the_byte(
    content: bytes, newline: bytes, bucket: storage.Bucket, local_storage: LocalStorage
):
    body = newline.join(
        (
            *(b"--end", b"Content-Type: application/json", b"", b'{"name": "x"}'),
            *(b"--end", b"Content-Type: image/png", b"MIME-Version: 1.0", b"", content, b"--end--", b""),
        )
    )
    answer = requests.post(
        f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart",
        body,
        headers={"content-type": "multipart/related; boundary='end'"},
        timeout=10,
    )
    assert answer.json()["contentType"] == "image/png"
    assert bucket.blob("x").download_as_bytes() == content


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "multipart/related; boundary=x"),
        (b"nonsense", "multipart/related; boundary=x"),
        (b"--y\r\n\r\n{}\r\n", "multipart/related; boundary=x"),
        (b'--x\r\n\r\n{"name": "x"}\r\n--x\r\n\r\nabc', "multipart/related; boundary=x"),
        (b"--x\r\n\r\n{name}\r\n--x\r\n\r\nabc\r\n--x--", "multipart/related; boundary=x"),
        (b"--x\r\n\r\n[]\r\n--x\r\n\r\nabc\r\n--x--", "multipart/related; boundary=x"),
        (b"--x\r\n\r\n{}\r\n--x\r\n\r\nabc\r\n--x--", "image/png"),
    ],
)
def test_a_multipart_body_that_is_none_is_refused(
    body: bytes, content_type: str, bucket: storage.Bucket, local_storage: LocalStorage
):
    url = f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
    answer = requests.post(url, body, headers={"content-type": content_type}, timeout=10)
    assert answer.status_code == 400
    assert list(bucket.list_blobs()) == []


def test_what_arrives_otherwise_than_it_was_sent_is_refused(bucket: storage.Bucket, local_storage: LocalStorage):
    begun = f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable"
    location = requests.post(begun, json={"name": "x", "crc32c": "AAAAAA=="}, timeout=10).headers["location"]
    answer = requests.put(location, b"abc", timeout=10)
    assert (answer.status_code, "CRC32C" in answer.json()["error"]["message"]) == (400, True)
    url = f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=x"
    answer = requests.post(url, b"abc", headers={"x-goog-hash": "md5=AAAA"}, timeout=10)
    assert answer.status_code == 400
    assert bucket.get_blob("x") is None


def test_a_rewrite_copies_the_sources_metadata_or_sets_new(bucket: storage.Bucket, bucket_names: Callable[[], str]):
    source = bucket.blob("image.jpg")
    source.metadata = {"camera": "1"}
    source.upload_from_string(PICTURE, content_type="image/jpeg")
    elsewhere = bucket.client.create_bucket(bucket_names())

    same = elsewhere.blob("same.jpg")
    assert same.rewrite(source) == (None, len(PICTURE), len(PICTURE))
    same.reload()
    assert (same.metadata, same.content_type) == ({"camera": "1"}, "image/jpeg")

    new = elsewhere.blob("new.jpg")
    new.metadata = {"prediction-label": "ok"}
    new.rewrite(source)
    new.reload()
    assert new.metadata == {"prediction-label": "ok"}
    assert new.content_type is None

    source.delete()
    assert same.download_as_bytes() == new.download_as_bytes() == PICTURE
    same.delete()
    assert new.download_as_bytes() == PICTURE


def test_a_move_keeps_everything_but_the_name_and_the_generation(bucket: storage.Bucket):
    source = bucket.blob("unclear/image.jpg")
    source.metadata = {"camera": "1"}
    source.upload_from_string(PICTURE, content_type="image/jpeg")
    moved = bucket.move_blob(source, "human_decided/ok_image.jpg")
    assert (moved.metadata, moved.content_type, moved.metageneration) == ({"camera": "1"}, "image/jpeg", 1)
    assert existing(bucket, moved.name or "").generation > (source.generation or 0)
    assert not source.exists()
    assert moved.download_as_bytes() == PICTURE
    with pytest.raises(BadRequest):
        bucket.move_blob(moved, moved.name)


def test_composing_puts_contents_in_a_row(bucket: storage.Bucket):
    for name in ("1", "2", "3"):
        bucket.blob(name).upload_from_string(name * 3)
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose([bucket.blob(name) for name in ("3", "1", "2")])
    assert whole.download_as_bytes() == b"333111222"
    assert (whole.component_count, whole.md5_hash, whole.content_type) == (3, None, "text/plain")
    with pytest.raises(NotFound):
        whole.compose([bucket.blob("4")])


def test_a_delete_while_a_download_runs_does_not_cut_it(bucket: storage.Bucket, local_storage: LocalStorage):
    bucket.blob("large").upload_from_string(PICTURE * 1000)
    url = f"{local_storage.url}/storage/v1/b/{bucket.name}/o/large?alt=media"
    with requests.get(url, stream=True, timeout=10) as answer:
        bucket.blob("large").delete()
        assert len(answer.content) == len(PICTURE) * 1000


def test_missing_things_are_404_with_the_name(client: storage.Client, bucket: storage.Bucket):
    with pytest.raises(NotFound, match="nowhere"):
        bucket.blob("nowhere").download_as_bytes()
    with pytest.raises(NotFound, match="nowhere"):
        bucket.blob("nowhere").delete()
    with pytest.raises(NotFound, match="bucket"):
        client.bucket("no-such-bucket").blob("x").upload_from_string(b"")
    with pytest.raises(NotFound, match="bucket"):
        bucket.blob("y").rewrite(client.bucket("no-such-bucket").blob("x"))


def test_metadata_that_cannot_be_kept_is_refused(bucket: storage.Bucket, local_storage: LocalStorage):
    blob = bucket.blob("x")
    blob.metadata = {"long": "x" * MAX_METADATA_BYTES}
    with pytest.raises(GoogleAPICallError, match=str(MAX_METADATA_BYTES)):
        blob.upload_from_string(b"")
    bucket.blob("x").upload_from_string(b"")
    url = f"{local_storage.url}/storage/v1/b/{bucket.name}/o/x"
    for wrong in ({"metadata": {"a": 1}}, {"metadata": []}, {"contentType": "a\r\nb: c"}, {"contentType": 5}):
        assert requests.patch(url, json=wrong, timeout=10).status_code == 400
    assert requests.patch(url, b"{", timeout=10).json()["error"]["errors"][0]["reason"] == "parseError"
    for wrong in ("ifGenerationMatch=x", "generation=-1", "ifMetagenerationMatch=" + "9" * 5000):
        assert requests.get(f"{url}?{wrong}", timeout=10).status_code == 400


def test_an_objects_own_headers_may_be_any_text(bucket: storage.Bucket):
    blob = bucket.blob("x")
    blob.content_disposition = "inline; filename=部品.jpg"
    blob.upload_from_string(PICTURE)
    answer = requests.get(existing(bucket, "x").media_link, timeout=10)
    assert answer.content == PICTURE
    assert answer.headers["content-disposition"].encode("latin-1").decode() == "inline; filename=部品.jpg"


def test_who_asks_is_in_the_address_and_stays_in_every_address_of_the_answer(
    bucket: storage.Bucket, local_storage: LocalStorage, gate: FailingGate, monkeypatch: pytest.MonkeyPatch
):
    # As a deployed part is told where Cloud Storage is.
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"{local_storage.url}/as/{CAMERA}")
    camera = storage.Client(project="factory")
    # The client's tracing asks for the bucket, now and then, in a thread of its own.
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    blob = camera.bucket(bucket.name).blob("image.jpg", chunk_size=QUANTUM)
    blob.upload_from_string(PICTURE)
    blob.reload()
    assert f"/as/{CAMERA}/" in (blob.self_link or "")
    assert blob.download_as_bytes() == PICTURE
    copy = camera.bucket(bucket.name).blob("copy.jpg")
    copy.rewrite(blob)
    copy.delete()
    assert gate.counts() == {
        (CAMERA, "storage.objects.insert"): 1,
        (CAMERA, "storage.objects.get"): 2,
        (CAMERA, "storage.objects.rewrite"): 1,
        (CAMERA, "storage.objects.delete"): 1,
    }
    assert gate.calls[3] == Call(
        identity=CAMERA,
        method="storage.objects.rewrite",
        bucket=bucket.name,
        object="image.jpg",
        destination_bucket=bucket.name,
        destination_object="copy.jpg",
    )


@pytest.mark.parametrize("chunk_size", [None, QUANTUM])
def test_the_gate_can_refuse_before_and_fail_after(chunk_size: int | None, bucket: storage.Bucket, gate: FailingGate):
    gate.refuse_enter = "storage.objects.insert"
    with pytest.raises(Forbidden, match=r"storage\.objects\.insert"):
        bucket.blob("x", chunk_size=chunk_size).upload_from_string(b"before")
    gate.refuse_enter = None
    assert bucket.get_blob("x") is None
    gate.refuse_leave = "storage.objects.insert"
    with pytest.raises((BadRequest, InvalidResponse)):
        bucket.blob("x", chunk_size=chunk_size).upload_from_string(b"after")
    # The answer was lost, the object is there and whole.
    assert bucket.blob("x").download_as_bytes() == b"after"
    gate.refuse_leave = "storage.objects.delete"
    with pytest.raises(BadRequest):
        bucket.blob("x").delete()
    assert bucket.get_blob("x") is None


def test_what_a_crash_leaves_is_swept_and_the_rest_is_as_it_was(tmp_path: Path):
    with ObjectStore(tmp_path) as store:
        store.create_bucket("kept", {})
        content = store.new_content()
        content.write(PICTURE)
        stored = store.insert("kept", "x", content, {"contentType": "image/jpeg"}).object
        store.new_content().write(b"half an upl")  # and the process dies
        assert len(list((tmp_path / "contents").iterdir())) == 2
    with ObjectStore(tmp_path) as store:
        again, file = store.open("kept", "x")
        with file:
            assert file.read() == PICTURE
        assert again == stored
        assert [path.name for path in (tmp_path / "contents").iterdir()] == [stored.content]
        newer = store.insert("kept", "y", store.new_content(), {}).object
        assert newer.generation > stored.generation
        for name in ("x", "y"):
            store.delete("kept", name)
        assert list((tmp_path / "contents").iterdir()) == []


def test_readers_and_writers_of_one_name_never_see_a_mixture(bucket: storage.Bucket):
    def write(number: int) -> None:
        bucket.blob("x").upload_from_string(bytes([number]) * 20_000)

    def read(_: int) -> set[int]:
        return set(bucket.blob("x").download_as_bytes())

    write(0)
    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(write, number) for number in range(1, 60)]
        seen = list(pool.map(read, range(60)))
        for future in written:
            future.result()
    assert all(len(values) == 1 for values in seen)
