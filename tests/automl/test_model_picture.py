"""What `inspection model` sends to a model is what the deployed function sends: thresholds hold for the same pictures."""

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from automl.picture import MAX_JPEG_BYTES, UnusableImageError, prepare, thumbnail
from local.deploy.program import ROOT
from tests.functions.slow_files import repeated_scans


@pytest.fixture
def function_prepares(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], bytes]:
    """`prepare` of the deployed function, whose modules have bare names."""
    monkeypatch.syspath_prepend(str(ROOT / "functions" / "predict"))
    monkeypatch.delitem(sys.modules, "picture", raising=False)
    import picture  # pyright: ignore[reportMissingImports]

    monkeypatch.delitem(sys.modules, "picture")
    prepared: Callable[[bytes], bytes] = picture.prepare
    return prepared


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:  # noqa: ANN401  # Pillow's
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def turned(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(noise(60, 40), "JPEG", exif=exif)


def turned_with_an_odd_tag() -> bytes:
    """Its resolution is a text, which nobody can write again."""
    tags = struct.pack("<HHHI4sHHI4s", 2, 0x0112, 3, 1, b"\6\0\0\0", 0x011A, 2, 3, b"abc\0")
    return saved(noise(60, 40), "JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + tags + bytes(4))


def see_through() -> bytes:
    image = noise(60, 40).convert("RGBA")
    image.putalpha(120)
    return saved(image, "PNG")


def deep_grey() -> bytes:
    pixels = np.random.default_rng(2).integers(0, 65535, (40, 60), dtype=np.uint16)
    return saved(Image.fromarray(pixels), "PNG")


@pytest.mark.parametrize(
    "data",
    [
        saved(noise(60, 40), "JPEG"),
        saved(noise(60, 40).convert("L"), "JPEG"),
        saved(noise(60, 40), "PNG"),
        saved(noise(60, 40), "BMP"),
        saved(noise(60, 40).convert("P"), "GIF"),
        saved(noise(60, 40).convert("1"), "PNG"),
        *map(turned, range(10)),
        turned_with_an_odd_tag(),
        saved(noise(60, 40), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage"),
        see_through(),
        deep_grey(),
        saved(noise(1200, 900), "JPEG", quality=100, subsampling=0),
    ],
    ids=[
        "jpeg",
        "grey jpeg",
        "png",
        "bmp",
        "gif",
        "1 bit",
        *(f"turned {number}" for number in range(10)),
        "turned, odd tag",
        "damaged EXIF",
        "see-through",
        "16 bits",
        "too many bytes",
    ],
)
def test_the_function_sends_the_same_bytes(data: bytes, function_prepares: Callable[[bytes], bytes]):
    assert prepare(data) == function_prepares(data)
    assert len(prepare(data)) <= MAX_JPEG_BYTES


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no picture of a known format"),
        (b"no picture", "no picture of a known format"),
        (saved(noise(60, 40), "JPEG")[:900], "damaged or incomplete"),
        (saved(Image.new("1", (8000, 8000)), "PNG"), "too large to decode"),
        (saved(noise(60, 40), "PPM"), "no picture of a known format"),
        (saved(noise(60, 40), "EPS"), "no picture of a known format"),
        (repeated_scans(1_000, 100_000), r"takes too long to decode: over 3\.3 s"),
    ],
    ids=["empty", "text", "cut", "64 million pixels", "not a format of the line", "a program", "slow"],
)
def test_what_is_no_picture_is_refused(data: bytes, text: str):
    with pytest.raises(UnusableImageError, match=text):
        prepare(data)
    with pytest.raises(UnusableImageError, match=text):
        thumbnail(data, 30)


def test_a_thumbnail_is_small_and_upright(tmp_path: Path):
    for data in (turned(), turned_with_an_odd_tag()):
        with Image.open(io.BytesIO(thumbnail(data, 30))) as small:
            assert small.size == (20, 30)
