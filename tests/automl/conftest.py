"""A local Cloud Storage that the commands find by themselves, and the commands."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import typer
from google.cloud import storage
from PIL import Image
from typer.testing import CliRunner, Result

from automl.commands import dataset_app, model_app
from inspection.command.transfer import storage_client
from local.gate import ApiError, Call, RequestLog
from local.http import serve
from local.storage.server import storage_app
from local.storage.store import ObjectStore

Run = Callable[..., Result]


class Gate(RequestLog):
    """Counts requests, and refuses uploads of objects with some names."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse: Callable[[str], bool] = lambda _: False

    def enter(self, call: Call) -> None:
        super().enter(call)
        if call.method == "storage.objects.insert" and self.refuse(call.object or ""):
            raise ApiError(400, "invalid", "refused on purpose")

    def uploads(self) -> int:
        return sum(number for (_, method), number in self.counts().items() if method == "storage.objects.insert")


@dataclass
class Cloud:
    """The storage server's client, and what it was asked."""

    client: storage.Client
    gate: Gate
    numbers: Iterator[int]

    def bucket(self, name: str | None = None) -> storage.Bucket:
        """A new, empty bucket."""
        return self.client.create_bucket(name or f"factory-{next(self.numbers)}")

    def names(self, bucket: storage.Bucket, prefix: str = "") -> set[str]:
        return {str(blob.name) for blob in self.client.list_blobs(bucket, prefix=prefix)}


@pytest.fixture(scope="session")
def storage_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Gate]]:
    gate = Gate()
    with ObjectStore(tmp_path_factory.mktemp("objects")) as store, serve(storage_app(store, gate=gate)) as server:
        yield server.url, gate


@pytest.fixture(scope="session")
def bucket_numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def cloud(
    storage_server: tuple[str, Gate], bucket_numbers: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    """The commands' own client goes to the local server."""
    url, gate = storage_server
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    storage_client.cache_clear()
    gate.clear()
    gate.refuse = lambda _: False
    cloud = Cloud(storage_client(), gate, bucket_numbers)
    yield cloud
    for bucket in cloud.client.list_buckets():
        for blob in cloud.client.list_blobs(bucket):
            blob.delete()
        bucket.delete()
    storage_client.cache_clear()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `inspection ...`; the result has `exit_code`, `stdout` and `stderr`."""
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(dataset_app, name="dataset")
    app.add_typer(model_app, name="model")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def _draw(path: Path, seed: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.Random(str(seed)).randbytes(64)
    Image.frombytes("L", (8, 8), pixels).save(path, format="PNG")
    return path


@pytest.fixture
def draw() -> Callable[[Path, object], Path]:
    """Make a small picture that no other seed has."""
    return _draw


@pytest.fixture
def put() -> Callable[..., None]:
    """Make an object that says it is a picture; nobody looks into it."""

    def put(bucket: storage.Bucket, name: str, seed: object, **metadata: str) -> None:
        blob = bucket.blob(name)
        blob.metadata = {key.replace("_", "-"): value for key, value in metadata.items()}
        blob.upload_from_string(random.Random(str(seed)).randbytes(64), content_type="image/jpeg")

    return put


@pytest.fixture
def casting_data(tmp_path: Path) -> Path:
    """Defective parts: two sets by folder, two labels by folder."""
    root = tmp_path / "casting_data"
    for used_for, number in (("train", 12), ("test", 3)):
        for folder in ("def_front", "ok_front"):
            for i in range(number):
                _draw(root / used_for / folder / f"cast_{folder[:-6]}_0_{i}.png", f"{used_for}{folder}{i}")
    return root
