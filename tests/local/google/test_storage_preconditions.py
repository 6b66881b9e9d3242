"""Each precondition of each operation that has it, hit and missed, and writers that race for a name."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from google.api_core.exceptions import Conflict, NotFound, NotModified, PreconditionFailed
from google.cloud import storage

Operation = Callable[[storage.Bucket, storage.Blob, dict[str, Any]], object]


def upload(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.blob(blob.name).upload_from_string(b"new", **conditions)


def upload_resumable(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.blob(blob.name, chunk_size=256 * 1024).upload_from_string(b"new", **conditions)


def download(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.blob(blob.name).download_as_bytes(**conditions)


def get(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.blob(blob.name).reload(**conditions)


def patch(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    patched = bucket.blob(blob.name)
    patched.metadata = {"seen": "yes"}
    return patched.patch(**conditions)


def update(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    updated = bucket.blob(blob.name)
    updated.content_type = "image/png"
    return updated.update(**conditions)


def delete(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.blob(blob.name).delete(**conditions)


def as_source(conditions: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("if_", "if_source_"): value for name, value in conditions.items()}


def rewrite_from(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.blob("elsewhere").rewrite(bucket.blob(blob.name), **as_source(conditions))


def rewrite_onto(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.blob(blob.name).rewrite(bucket.blob("other"), **conditions)


def copy_from(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.copy_blob(bucket.blob(blob.name), bucket, "elsewhere", **as_source(conditions))


def copy_onto(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.copy_blob(bucket.blob("other"), bucket, blob.name, **conditions)


def move_from(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.move_blob(bucket.blob(blob.name), "elsewhere", **as_source(conditions))


def move_onto(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, Any]) -> object:
    return bucket.move_blob(bucket.blob("other"), blob.name, **conditions)


READS: list[Operation] = [get, download]
WRITES: list[Operation] = [
    upload,
    upload_resumable,
    patch,
    update,
    delete,
    rewrite_from,
    rewrite_onto,
    copy_from,
    copy_onto,
    move_from,
    move_onto,
]


@pytest.fixture
def blob(bucket: storage.Bucket) -> storage.Blob:
    """An object whose metageneration differs from every generation, beside another one."""
    bucket.blob("other").upload_from_string(b"other")
    blob = bucket.blob("image.jpg")
    blob.upload_from_string(b"old")
    blob.metadata = {"camera": "1"}
    blob.patch()
    return blob


def snapshot(bucket: storage.Bucket) -> list[tuple[str, int, int]]:
    return [(blob.name, blob.generation, blob.metageneration) for blob in bucket.list_blobs()]


@pytest.mark.parametrize("version", ["generation", "metageneration"])
@pytest.mark.parametrize("operation", READS + WRITES)
def test_a_condition_that_holds_lets_the_request_take_effect(
    operation: Operation, version: str, bucket: storage.Bucket, blob: storage.Blob
):
    before = snapshot(bucket)
    operation(bucket, blob, {f"if_{version}_match": getattr(blob, version)})
    assert (snapshot(bucket) == before) == (operation in READS)


@pytest.mark.parametrize("version", ["generation", "metageneration"])
@pytest.mark.parametrize("operation", READS + WRITES)
def test_a_condition_that_does_not_hold_is_answered_412_and_changes_nothing(
    operation: Operation, version: str, bucket: storage.Bucket, blob: storage.Blob
):
    before = snapshot(bucket)
    with pytest.raises(PreconditionFailed):
        operation(bucket, blob, {f"if_{version}_match": getattr(blob, version) + 1})
    assert snapshot(bucket) == before


@pytest.mark.parametrize("version", ["generation", "metageneration"])
@pytest.mark.parametrize("operation", READS + WRITES)
def test_not_match_with_another_version_lets_the_request_take_effect(
    operation: Operation, version: str, bucket: storage.Bucket, blob: storage.Blob
):
    before = snapshot(bucket)
    operation(bucket, blob, {f"if_{version}_not_match": getattr(blob, version) + 1})
    assert (snapshot(bucket) == before) == (operation in READS)


@pytest.mark.parametrize("version", ["generation", "metageneration"])
@pytest.mark.parametrize("operation", READS + WRITES)
def test_not_match_with_this_version_is_304_for_a_read_and_412_for_a_write(
    operation: Operation, version: str, bucket: storage.Bucket, blob: storage.Blob
):
    before = snapshot(bucket)
    with pytest.raises(NotModified if operation in READS else PreconditionFailed):
        operation(bucket, blob, {f"if_{version}_not_match": getattr(blob, version)})
    assert snapshot(bucket) == before


@pytest.mark.parametrize("operation", [upload, upload_resumable, rewrite_onto, copy_onto, move_onto])
def test_generation_0_stands_for_an_object_that_does_not_exist(operation: Operation, bucket: storage.Bucket):
    bucket.blob("other").upload_from_string(b"other")
    absent = bucket.blob("image.jpg")
    with pytest.raises(PreconditionFailed):
        operation(bucket, absent, {"if_generation_match": 17})
    with pytest.raises(PreconditionFailed):
        operation(bucket, absent, {"if_generation_not_match": 0})
    operation(bucket, absent, {"if_generation_match": 0})
    assert absent.exists()
    if operation is move_onto:
        bucket.blob("other").upload_from_string(b"other")
    with pytest.raises(PreconditionFailed):
        operation(bucket, absent, {"if_generation_match": 0})


@pytest.mark.parametrize(
    "operation", [get, download, patch, update, delete, rewrite_from, copy_from, move_from], ids=lambda f: f.__name__
)
def test_an_object_that_does_not_exist_is_404_whatever_the_condition(operation: Operation, bucket: storage.Bucket):
    with pytest.raises(NotFound):
        operation(bucket, bucket.blob("nowhere"), {"if_generation_match": 17})


def test_a_precondition_error_reads_like_googles(bucket: storage.Bucket, blob: storage.Blob):
    with pytest.raises(PreconditionFailed) as caught:
        blob.delete(if_generation_match=1)
    [detail] = caught.value.errors
    assert detail["reason"] == "conditionNotMet"
    assert detail["domain"] == "global"
    assert "pre-conditions" in caught.value.message


def test_a_generation_that_is_gone_is_not_found(bucket: storage.Bucket, blob: storage.Blob):
    old = blob.generation
    bucket.blob(blob.name).upload_from_string(b"newer")
    gone = bucket.blob(blob.name, generation=old)
    with pytest.raises(NotFound):
        gone.download_as_bytes()
    with pytest.raises(NotFound):
        gone.reload()
    with pytest.raises(NotFound):
        gone.delete()
    with pytest.raises(NotFound):
        bucket.blob("copy").rewrite(gone)
    assert bucket.blob(blob.name).download_as_bytes() == b"newer"


def test_a_buckets_metageneration_is_compared(client: storage.Client, bucket: storage.Bucket):
    conditions: list[dict[str, Any]] = [{"if_metageneration_match": 9}, {"if_metageneration_not_match": 1}]
    for wrong in conditions:
        bucket.labels = {"line": "1"}
        with pytest.raises(PreconditionFailed):
            bucket.patch(**wrong)
        with pytest.raises(NotModified if "if_metageneration_not_match" in wrong else PreconditionFailed):
            client.bucket(bucket.name).reload(**wrong)
    bucket.labels = {"line": "1"}
    bucket.patch(if_metageneration_match=1)
    assert client.get_bucket(bucket.name).labels == {"line": "1"}
    assert client.get_bucket(bucket.name).metageneration == 2


def test_a_bucket_that_exists_or_is_not_empty_is_a_conflict(client: storage.Client, bucket: storage.Bucket):
    with pytest.raises(Conflict):
        client.create_bucket(bucket.name)
    bucket.blob("image.jpg").upload_from_string(b"")
    with pytest.raises(Conflict):
        client.bucket(bucket.name).delete()
    bucket.blob("image.jpg").delete()
    client.bucket(bucket.name).delete()
    with pytest.raises(NotFound):
        client.get_bucket(bucket.name)


@pytest.mark.parametrize("operation", [upload, rewrite_onto, move_from])
def test_of_writers_that_race_exactly_one_wins(operation: Operation, bucket: storage.Bucket):
    """Eight at once, 25 rounds: each wants the same name, or (a move) the same source."""
    writers, rounds = 8, 25
    start = Barrier(writers)

    def attempt(blob: storage.Blob, conditions: dict[str, Any]) -> bool:
        start.wait()
        try:
            operation(bucket, blob, conditions)
        except (PreconditionFailed, NotFound):
            return False
        return True

    bucket.blob("other").upload_from_string(b"other")
    with ThreadPoolExecutor(writers) as pool:
        for number in range(rounds):
            blob = bucket.blob(f"image-{number}")
            conditions = {"if_generation_match": 0}
            if operation is move_from:
                blob.upload_from_string(b"contested")
                conditions = {"if_generation_match": blob.generation}
            won = list(pool.map(attempt, [blob] * writers, [conditions] * writers))
            assert won.count(True) == 1
            if operation is move_from:
                assert not blob.exists()


def test_of_claims_on_metadata_exactly_one_wins(bucket: storage.Bucket, blob: storage.Blob):
    start = Barrier(8)

    def claim(reviewer: int) -> bool:
        claimed = bucket.blob(blob.name)
        claimed.metadata = {"reviewer": str(reviewer)}
        start.wait()
        try:
            claimed.patch(if_metageneration_match=blob.metageneration)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(claim, range(8)))
    assert won.count(True) == 1
    blob.reload()
    assert blob.metadata == {"camera": "1", "reviewer": str(won.index(True))}
