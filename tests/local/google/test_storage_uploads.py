"""The ways of uploading that other clients take: chunks by POST, and multipart uploads of the XML API."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from google.cloud import storage
from google.cloud.storage import transfer_manager

from local.google.identity import identity_path
from tests.local.conftest import LocalStorage, Published, existing
from tests.support.gate import ScriptedGate, refuse

MIB = 2**20


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_chunks_of_a_resumable_upload_come_by_put_and_by_post(
    local_storage: LocalStorage, bucket: storage.Bucket, method: str
) -> None:
    content = bytes(range(256)) * 1024 + b"the end"
    address = f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=a.bin"
    session = requests.post(address, json={"metadata": {"by": method}}).headers["location"]
    first = {"Content-Range": f"bytes 0-{256 * 1024 - 1}/*"}
    answer = requests.request(method, session, data=content[: 256 * 1024], headers=first)
    assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{256 * 1024 - 1}")
    last = {"Content-Range": f"bytes {256 * 1024}-{len(content) - 1}/{len(content)}"}
    answer = requests.request(method, session, data=content[256 * 1024 :], headers=last)
    assert (answer.status_code, answer.json()["size"]) == (200, str(len(content)))
    stored = existing(bucket, "a.bin")
    assert stored.metadata == {"by": method}
    assert stored.download_as_bytes() == content


def test_the_client_s_concurrent_upload_makes_one_object(
    bucket: storage.Bucket, tmp_path: Path, published: Published
) -> None:
    file = tmp_path / "large.bin"
    file.write_bytes(b"".join(bytes([number]) * MIB for number in range(12)))
    bucket.notification(topic_name="images").create()
    blob = bucket.blob("new/large ä.bin")
    blob.metadata = {"camera": "7"}
    blob.cache_control = "no-store"
    transfer_manager.upload_chunks_concurrently(
        str(file),
        blob,
        content_type="image/x",
        chunk_size=5 * MIB,
        max_workers=3,
        worker_type=transfer_manager.THREAD,
    )
    stored = existing(bucket, blob.name or "")
    assert (stored.size, stored.content_type, stored.md5_hash) == (12 * MIB, "image/x", None)
    assert (stored.metadata, stored.cache_control) == ({"camera": "7"}, "no-store")
    assert stored.download_as_bytes() == file.read_bytes()
    assert [attributes["eventType"] for _, _, attributes in published.messages] == ["OBJECT_FINALIZE"]


@pytest.fixture
def begun(local_storage: LocalStorage, bucket: storage.Bucket) -> tuple[str, str]:
    """The object's address and the upload's id."""
    address = f"{local_storage.url}/{bucket.name}/a.bin"
    answer = requests.post(f"{address}?uploads")
    assert answer.status_code == 200
    return address, answer.text.partition("<UploadId>")[2].partition("</UploadId>")[0]


def put(address: str, upload: str, number: int, content: bytes) -> requests.Response:
    return requests.put(address, params={"partNumber": number, "uploadId": upload}, data=content)


def complete(address: str, upload: str, *parts: tuple[int, str]) -> requests.Response:
    lines = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in parts)
    body = f"<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>"
    return requests.post(address, params={"uploadId": upload}, data=body)


def test_the_last_of_two_parts_of_one_number_counts(begun: tuple[str, str], bucket: storage.Bucket) -> None:
    address, upload = begun
    put(address, upload, 2, b"the end")
    put(address, upload, 1, b"x" * (5 * MIB))
    etags = {
        1: put(address, upload, 1, b"y" * (5 * MIB)).headers["etag"],
        2: f'"{hashlib.md5(b"the end").hexdigest()}"',
    }
    listed = requests.get(address, params={"uploadId": upload}).text
    assert listed.count("<Part>") == 2
    etags[2] = listed.split("<ETag>")[2].partition("</ETag>")[0].replace("&quot;", '"')
    assert complete(address, upload, *etags.items()).status_code == 200
    assert existing(bucket, "a.bin").download_as_bytes() == b"y" * (5 * MIB) + b"the end"
    assert put(address, upload, 3, b"late").status_code == 404


def test_what_is_no_whole_upload_is_refused(begun: tuple[str, str], bucket: storage.Bucket) -> None:
    address, upload = begun
    small, end = (put(address, upload, number, b"small").headers["etag"] for number in (1, 2))
    for parts, code in (
        ([], "InvalidPartOrder"),
        ([(2, end), (1, small)], "InvalidPartOrder"),
        ([(1, '"other"')], "InvalidPart"),
        ([(3, end)], "InvalidPart"),
        ([(1, small), (2, end)], "EntityTooSmall"),
    ):
        answer = complete(address, upload, *parts)
        assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (400, True), answer.text
    broken = requests.post(address, params={"uploadId": upload}, data=b"<a")
    assert (broken.status_code, "MalformedComplete" in broken.text) == (400, True)
    for number in ("0", "10001", "x"):
        assert requests.put(address, params={"partNumber": number, "uploadId": upload}, data=b"").status_code == 400
    wrong = {"Content-MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    sent = requests.put(address, params={"partNumber": 1, "uploadId": upload}, data=b"small", headers=wrong)
    assert sent.status_code == 400
    assert requests.post(f"{address}?uploads", headers={"x-goog-encryption-algorithm": "AES256"}).status_code == 400
    assert requests.post(f"{address.replace(bucket.name or '', 'nowhere')}?uploads").status_code == 404
    assert complete(address, upload, (1, small)).status_code == 200, "nothing of that ended it"


def test_a_given_up_upload_leaves_nothing(
    begun: tuple[str, str], bucket: storage.Bucket, local_storage: LocalStorage
) -> None:
    address, upload = begun
    put(address, upload, 1, b"x")
    assert requests.delete(address, params={"uploadId": upload}).status_code == 204
    assert complete(address, upload, (1, "x")).status_code == 404
    assert list(bucket.list_blobs()) == []


def test_each_step_asks_for_its_permission(
    local_storage: LocalStorage, bucket: storage.Bucket, gate: ScriptedGate, begun: tuple[str, str]
) -> None:
    address, upload = begun
    camera = address.replace(
        local_storage.url, local_storage.url + identity_path("camera@factory.iam.gserviceaccount.com")
    )
    steps: dict[str, Callable[[], requests.Response]] = {
        "storage.multipartUploads.create": lambda: put(camera, upload, 1, b"x"),
        "storage.multipartUploads.listParts": lambda: requests.get(camera, params={"uploadId": upload}),
        "storage.multipartUploads.abort": lambda: requests.delete(camera, params={"uploadId": upload}),
    }
    for method, step in steps.items():
        gate.before[method] = refuse(403, "forbidden")
        answer = step()
        assert (answer.status_code, "<Code>AccessDenied</Code>" in answer.text) == (403, True)
        gate.before.clear()
        assert step().ok
    asked = {(call.method, call.identity, call.object) for call in gate.calls if call.identity}
    assert asked == {(method, "camera@factory.iam.gserviceaccount.com", "a.bin") for method in steps}


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_what_the_xml_api_does_not_do_here_is_refused_by_name(
    local_storage: LocalStorage, bucket: storage.Bucket, method: str
) -> None:
    answer = requests.request(method, f"{local_storage.url}/{bucket.name}/a.bin", data=b"a")
    assert (answer.status_code, "<Code>NotImplemented</Code>" in answer.text) == (501, True)
    assert f"does not do {method} of an object by the XML API" in answer.text


def test_an_old_signed_url_is_refused_by_name(local_storage: LocalStorage, bucket: storage.Bucket) -> None:
    answer = requests.get(f"{local_storage.url}/{bucket.name}/a.bin?GoogleAccessId=a&Expires=1&Signature=x")
    assert (answer.status_code, "signed URLs of version 2" in answer.text) == (501, True)
