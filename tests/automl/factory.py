"""A factory's pictures, and its local Cloud Storage."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.cloud import storage
from PIL import Image
from typer.testing import Result

from local.google.gate import ApiError, Call, RequestLog

Run = Callable[..., Result]
"""Runs `inspection` with these words."""


class Gate(RequestLog):
    """Counts requests, and refuses to take an object of one name."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse: str | None = None

    def enter(self, call: Call) -> None:
        super().enter(call)
        if call.method == "storage.objects.insert" and call.object == self.refuse:
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

    def blob(self, bucket: storage.Bucket, name: str) -> storage.Blob:
        """The object as it is now; it must be there."""
        blob = bucket.get_blob(name)
        assert blob is not None
        return blob

    def names(self, bucket: storage.Bucket, prefix: str = "") -> set[str]:
        return {str(blob.name) for blob in self.client.list_blobs(bucket, prefix=prefix)}


def draw(path: Path, seed: object) -> None:
    """Make a small picture that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.Random(str(seed)).randbytes(64)
    Image.frombytes("L", (8, 8), pixels).save(path, format="PNG")


def put(bucket: storage.Bucket, name: str, seed: object, **metadata: str) -> None:
    """Make an object that says it is a picture; nobody looks into it."""
    blob = bucket.blob(name)
    blob.metadata = {key.replace("_", "-"): value for key, value in metadata.items()}
    blob.upload_from_string(random.Random(str(seed)).randbytes(64), content_type="image/jpeg")
