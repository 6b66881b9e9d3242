"""A Cloud Storage for tests of commands, which their own client finds by itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest
from google.cloud import storage

from console.transfer import storage_client
from inspection.environment import STORAGE_EMULATOR
from local.google.http import serve
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore
from tests.support.gate import ScriptedGate

INSERT = "storage.objects.insert"


@dataclass
class Cloud:
    """The storage server's client, and what it was asked."""

    client: storage.Client
    gate: ScriptedGate
    numbers: Iterator[int]

    def bucket(self, name: str | None = None) -> storage.Bucket:
        """A new, empty bucket."""
        return self.client.create_bucket(name or f"factory-{next(self.numbers)}")

    def blob(self, bucket: storage.Bucket, name: str) -> storage.Blob:
        """The object as it is now; it must be there."""
        blob = bucket.get_blob(name)
        assert blob is not None
        return blob

    def names(self, bucket: storage.Bucket, prefix: str = "") -> set[str]:
        return {str(blob.name) for blob in self.client.list_blobs(bucket, prefix=prefix)}

    def uploads(self) -> int:
        return self.gate.count(INSERT)


@pytest.fixture(scope="session")
def storage_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ScriptedGate]]:
    gate = ScriptedGate()
    with ObjectStore(tmp_path_factory.mktemp("objects")) as store, serve(storage_app(store, gate=gate)) as server:
        yield server.url, gate


@pytest.fixture(scope="session")
def bucket_numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def cloud(
    storage_server: tuple[str, ScriptedGate], bucket_numbers: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    """The commands' own client goes to the local server."""
    url, gate = storage_server
    monkeypatch.setenv(STORAGE_EMULATOR, url)
    storage_client.cache_clear()
    gate.reset()
    cloud = Cloud(storage_client(), gate, bucket_numbers)
    yield cloud
    for bucket in cloud.client.list_buckets():
        for blob in cloud.client.list_blobs(bucket):
            blob.delete()
        bucket.delete()
    storage_client.cache_clear()
