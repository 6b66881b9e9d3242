"""Objects survive a crash whole, and readers and writers of one name do not disturb each other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from google.cloud import storage

from local.google.storage.store import ObjectStore

PICTURE = bytes(range(256)) * 40 + b"\r"


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
