"""One preparation: the line, `inspection model`, the local trainer and the report see the same pixels of every file."""

import io
import struct
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from automl.dataset.import_file import Row
from automl.evaluation.asking import ask
from automl.services.service import Model as ServiceModel
from automl.services.service import Service
from imaging.bounded import UnusableImageError
from imaging.prepare import FORMATS, MAX_JPEG_BYTES, prepare, thumbnail
from local.google.models.features import UnreadablePictureError, features
from tests.functions.slow_files import repeated_scans
from tests.functions.stage import Cloud, Function, Model


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


def s15_fixed16(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def linear_profile() -> bytes:
    """An ICC profile with sRGB's primaries and a linear curve (https://www.color.org/specification/ICC.1-2001-04.pdf)."""
    name = b"Linear RGB\0"
    curve = b"curv" + bytes(8)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + s15_fixed16(0.9642, 1, 0.8249),
        b"rXYZ": b"XYZ " + bytes(4) + s15_fixed16(0.4361, 0.2225, 0.0139),
        b"gXYZ": b"XYZ " + bytes(4) + s15_fixed16(0.3851, 0.7169, 0.0971),
        b"bXYZ": b"XYZ " + bytes(4) + s15_fixed16(0.1431, 0.0606, 0.7141),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for key, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += key + struct.pack(">II", offset + len(body), len(padded))
        body += padded
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + s15_fixed16(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + body


LINEAR = linear_profile()


def castings_grey(levels: int, kind: type[np.unsignedinteger[Any]]) -> Image.Image:
    """A bright ring on a darker, noisy ground."""
    generator = np.random.default_rng(1)
    y, x = np.mgrid[0:128, 0:128]
    ring = abs(np.hypot(y - 64, x - 64) - 30) < 8
    grey = 0.25 + 0.1 * generator.random((128, 128)) + 0.4 * ring
    return Image.fromarray((grey * levels).astype(kind))


FILES: dict[str, bytes] = {
    "JPEG": saved(noise(60, 40), "JPEG"),
    "JPEG, grey": saved(noise(60, 40).convert("L"), "JPEG"),
    "JPEG, CMYK": saved(noise(60, 40).convert("CMYK"), "JPEG"),
    "JPEG, linear profile": saved(noise(60, 40), "JPEG", icc_profile=LINEAR),
    "JPEG, too many bytes": saved(noise(1200, 900), "JPEG", quality=100, subsampling=0),
    "JPEG, turned, odd tag": turned_with_an_odd_tag(),
    "JPEG, damaged EXIF": saved(noise(60, 40), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage"),
    **{f"JPEG, orientation {number}": turned(number) for number in range(10)},
    "PNG": saved(noise(60, 40), "PNG"),
    "PNG, 1 bit": saved(noise(60, 40).convert("1"), "PNG"),
    "PNG, palette": saved(noise(60, 40).convert("P"), "PNG"),
    "PNG, see-through": see_through(),
    "PNG, 16 bits": saved(castings_grey(65535, np.uint16), "PNG"),
    "PNG, linear profile": saved(
        Image.linear_gradient("L").resize((160, 120)).convert("RGB"), "PNG", icc_profile=LINEAR
    ),
    "GIF": saved(noise(60, 40).convert("P"), "GIF"),
    "BMP": saved(noise(60, 40), "BMP"),
    "WEBP": saved(noise(60, 40), "WEBP", lossless=True),
    "TIFF": saved(noise(60, 40), "TIFF"),
    "TIFF, 16 bits": saved(castings_grey(65535, np.uint16), "TIFF"),
    "TIFF, floats": saved(Image.fromarray(np.full((40, 60), 0.5, np.float32)), "TIFF"),
}


class RecordingService:
    """Keeps what `inspection model evaluate` sends."""

    def __init__(self) -> None:
        self.jpegs: list[bytes] = []

    def scores(self, _model: ServiceModel, jpeg: bytes) -> dict[str, float]:
        self.jpegs.append(jpeg)
        return {"ok": 1.0}


def sent_by_evaluate(cloud: Cloud, name: str) -> bytes:
    service = RecordingService()
    row = Row(uri=f"gs://inbound/{name}", labels=("ok",), set=None)
    asked = ask(cast("Service", service), cast("ServiceModel", None), [row], cast("Any", cloud.inbound.client))
    assert asked.failures == []
    [jpeg] = service.jpegs
    return jpeg


def pixels(jpeg: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_every_part_sees_the_same_image(cloud: Cloud, model: Model, predict: Function, data: bytes):
    assert predict.deliver(cloud.upload("a", data)).status == 200
    [line] = model.asked

    assert len(line) <= MAX_JPEG_BYTES
    assert sent_by_evaluate(cloud, "a") == line
    assert np.array_equal(features(data), features(line)), "the local trainer"
    assert np.array_equal(pixels(thumbnail(data, 50)), pixels(thumbnail(line, 50))), "the report"


def test_every_format_of_the_line_is_among_them():
    assert {name.partition(",")[0] for name in FILES} == set(FORMATS)


def test_sixteen_bits_train_like_eight():
    deep, eight = (features(saved(castings_grey(*depth), "PNG")) for depth in ((65535, np.uint16), (255, np.uint8)))
    assert np.abs(deep - eight).mean() < 0.05 * np.abs(eight).mean()


def test_a_profile_is_applied():
    plain = Image.linear_gradient("L").resize((160, 120)).convert("RGB")
    with_profile = pixels(thumbnail(saved(plain, "PNG", icc_profile=LINEAR), 100)).mean()
    assert with_profile - pixels(thumbnail(saved(plain, "PNG"), 100)).mean() > 30


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not a picture of a known format"),
        (b"no picture", "not a picture of a known format"),
        (saved(noise(60, 40), "JPEG")[:900], "damaged or incomplete"),
        (saved(Image.new("1", (8000, 8000)), "PNG"), "too large to decode"),
        (saved(noise(60, 40), "PPM"), "not a picture of a known format"),
        (saved(noise(60, 40), "EPS"), "not a picture of a known format"),
        (repeated_scans(1_000, 100_000), r"takes too long to decode: over 3\.3 s"),
    ],
    ids=["empty", "text", "cut", "64 million pixels", "not a format of the line", "a program", "slow"],
)
def test_what_is_not_an_image_is_refused(data: bytes, text: str):
    with pytest.raises(UnusableImageError, match=text):
        prepare(data)
    with pytest.raises(UnusableImageError, match=text):
        thumbnail(data, 30)
    with pytest.raises(UnreadablePictureError, match=text):
        features(data)


def test_a_thumbnail_is_small_and_upright():
    for data in (turned(), turned_with_an_odd_tag()):
        with Image.open(io.BytesIO(thumbnail(data, 30))) as small:
            assert small.size == (20, 30)
