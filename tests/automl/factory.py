"""A factory's pictures, and its local Cloud Storage."""

import random
from collections.abc import Callable
from pathlib import Path

from google.cloud import storage
from PIL import Image
from typer.testing import Result

Run = Callable[..., Result]
"""Runs `inspection` with these words."""


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
