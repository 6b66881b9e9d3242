"""A local Cloud Storage and real clients for it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local.google.http import serve
from local.google.identity import identity_path
from local.google.storage.server import storage_app
from local.google.storage.signing import Signers
from local.google.storage.store import ObjectStore
from tests.support.gate import ScriptedGate

SIGNER = "review@factory.iam.gserviceaccount.com"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gcloud: runs the real gcloud command")


@dataclass
class Published:
    """Stands where Pub/Sub would be: keeps messages, and in which thread each came."""

    messages: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    failure: Exception | None = None

    def __call__(self, topic: str, data: bytes, attributes: dict[str, str]) -> None:
        self.threads.add(threading.current_thread().name)
        if self.failure:
            raise self.failure
        self.messages.append((topic, data, attributes))


@dataclass(frozen=True)
class LocalStorage:
    """A running server with what it was given."""

    url: str
    store: ObjectStore
    gate: ScriptedGate
    published: Published
    signers: Signers

    def client(self, identity: str | None = None) -> storage.Client:
        """A real client, of the engineer or of a service account."""
        return storage.Client(
            project="factory",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.url + identity_path(identity)},
        )


def existing(bucket: storage.Bucket, name: str) -> Any:  # noqa: ANN401  # the client says of every property that it may be None
    """An object that is there, with its resource."""
    blob = bucket.get_blob(name)
    assert blob is not None, name
    return blob


@pytest.fixture(scope="session")
def local_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStorage]:
    """One server for all tests; each works in a bucket of its own."""
    folder = tmp_path_factory.mktemp("storage")
    gate, published, signers = ScriptedGate(), Published(), Signers([SIGNER])
    with (
        ObjectStore(folder) as store,
        serve(storage_app(store, gate=gate, publish=published, signers=signers)) as server,
    ):
        yield LocalStorage(server.url, store, gate, published, signers)


@pytest.fixture(scope="session")
def client(local_storage: LocalStorage) -> storage.Client:
    return local_storage.client()


@pytest.fixture(scope="session")
def bucket_names() -> Callable[[], str]:
    """Names that no other test has."""
    numbers = count()
    return lambda: f"bucket-{next(numbers)}"


@pytest.fixture
def bucket(client: storage.Client, bucket_names: Callable[[], str]) -> storage.Bucket:
    """A new, empty bucket."""
    return client.create_bucket(bucket_names())


@pytest.fixture
def gate(local_storage: LocalStorage) -> Iterator[ScriptedGate]:
    """The server's gate, with nothing logged."""
    local_storage.gate.reset()
    yield local_storage.gate
    local_storage.gate.reset()


@pytest.fixture
def published(local_storage: LocalStorage) -> Iterator[Published]:
    """What is published, from nothing on."""
    local_storage.published.messages.clear()
    yield local_storage.published
    local_storage.published.failure = None
