"""What a camera may send, and what the model then sees."""

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from imaging.bounded import UnusableImageError
from imaging.prepare import MAX_JPEG_BYTES, MAX_PIXELS, MAX_SIDE, prepare

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

RED, BLUE, WHITE = (220, 40, 30), (30, 60, 200), (255, 255, 255)


def part(mode: str = "RGB", size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A picture whose left is red and whose right is blue: its orientation and colours can be told."""
    image = Image.new("RGB", size, RED)
    ImageDraw.Draw(image).rectangle((size[0] // 2, 0, *size), fill=BLUE)
    return image.quantize(8) if mode == "P" else image.convert(mode)


def noise(size: tuple[int, int]) -> Image.Image:
    """Nothing compresses worse."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def seen(data: bytes) -> Image.Image:
    """The prepared picture, decoded; always one that every model takes."""
    jpeg = prepare(data)
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    assert image.format == "JPEG"
    assert image.mode in {"L", "RGB"}
    assert len(jpeg) <= MAX_JPEG_BYTES
    return image


def close(pixel: object, colour: object, tolerance: int = 12) -> bool:
    return bool(np.all(np.abs(np.asarray(pixel, int) - np.asarray(colour, int)) <= tolerance))


def left_and_right(image: Image.Image) -> tuple[Any, Any]:
    return image.getpixel((image.width // 4, image.height // 2)), image.getpixel(
        (3 * image.width // 4, image.height // 2)
    )


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_fits_is_sent_as_it_came(mode: str):
    data = saved(part(mode), "JPEG", quality=95)
    assert prepare(data) == data


@pytest.mark.parametrize(
    ("image_format", "mode", "options"),
    [
        ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {}),
        ("PNG", "P", {}),
        ("PNG", "RGBA", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("TIFF", "CMYK", {}),
        ("TIFF", "LAB", {}),
    ],
)
def test_every_format_and_colour_space_keeps_its_colours(image_format: str, mode: str, options: dict[str, Any]):
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(part(), srgb, lab, outputMode="LAB")
        assert image is not None
    else:
        image = part(mode)
    left, right = left_and_right(seen(saved(image, image_format, **options)))
    assert close(left, RED)
    assert close(right, BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_grey_stays_grey(mode: str):
    image = Image.new("L", (64, 64), 255).convert(mode) if mode != "I;16" else Image.new(mode, (64, 64), 65535)
    prepared = seen(saved(image, "PNG"))
    assert close(prepared.convert("L").getpixel((5, 5)), 255)
    if mode != "LA":
        assert prepared.mode == "L"


@pytest.mark.parametrize(
    ("pixels", "grey"),
    [
        (np.full((40, 40), 32896, np.uint16), 128),
        (np.full((40, 40), 200, np.int32), 200),
        (np.full((40, 40), 32896, np.int32), 128),
        (np.full((40, 40), 0.5, np.float32), 128),
        (np.full((40, 40), 200.0, np.float32), 200),
        (np.full((40, 40), -3.0, np.float32), 0),
        (np.full((40, 40), 1e6, np.float32), 255),
    ],
)
def test_deep_grey_is_scaled_and_not_cut(pixels: np.ndarray[Any, Any], grey: int):
    assert close(seen(saved(Image.fromarray(pixels), "TIFF")).getpixel((5, 5)), grey, 2)


def test_deep_grey_png_is_scaled():
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (20, 1))
    prepared = np.asarray(seen(saved(Image.fromarray(ramp), "PNG")).convert("L"), int)
    assert abs(prepared[10] - np.arange(256)).max() <= 3


def test_twelve_bit_tiff_spans_black_to_white():
    # Two pixels of 12 bits in three bytes: 0xfff, 0x800.
    size, strip = (2, 2), bytes([0xFF, 0xF8, 0x00]) * 2
    entries = [
        (256, 3, 1, size[0]), (257, 3, 1, size[1]), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, size[1]), (279, 4, 1, len(strip)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    data = b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory
    prepared = seen(data)
    assert close(prepared.getpixel((0, 0)), 255, 4)
    assert close(prepared.getpixel((1, 0)), 128, 4)


def test_floats_that_are_no_numbers_are_refused():
    with pytest.raises(UnusableImageError, match="no numbers"):
        prepare(saved(Image.fromarray(np.full((9, 9), np.inf, np.float32)), "TIFF"))


def test_transparent_becomes_white():
    image = Image.new("RGBA", (80, 40), (*RED, 255))
    image.paste((0, 0, 0, 0), (40, 0, 80, 40))
    palette = image.quantize(8)
    for data in (
        saved(image, "PNG"),
        saved(image, "WEBP", lossless=True),
        saved(image, "GIF"),
        saved(palette, "PNG"),
    ):
        left, right = left_and_right(seen(data))
        assert close(left, RED)
        assert close(right, WHITE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_picture_stands_upright(image_format: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = part()
    ImageDraw.Draw(upright).rectangle((0, 100, 159, 119), fill=WHITE)
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    options = {"lossless": True} if image_format == "WEBP" else {}
    prepared = seen(saved(stored, image_format, exif=exif, **options))
    assert prepared.size == (160, 120)
    assert close(prepared.getpixel((40, 50)), RED)
    assert close(prepared.getpixel((120, 50)), BLUE)
    assert close(prepared.getpixel((80, 110)), WHITE)


def test_a_damaged_exif_block_does_not_cost_the_picture():
    data = saved(part(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    left, right = left_and_right(seen(data))
    assert close(left, RED)
    assert close(right, BLUE)


def exif_block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """(tag, type, count, value) each; the value stands in the entry."""
    directory = b"".join(struct.pack("<HHI4s", *entry) for entry in sorted(entries))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)


TURNED = (0x0112, 3, 1, b"\6\0\0\0")


@pytest.mark.parametrize(
    "odd",
    [
        (0x010F, 12, 1, b"\x08\0\0\0"),
        (0x011A, 2, 3, b"abcd"),
        (0x011A, 11, 1, b"\xff\xff\xff\xff"),
        (0x0128, 4, 1, b"\xff\xff\xff\xff"),
        (0x8769, 8, 1, b"\xff\xff\xff\xff"),
        (0x02BC, 3, 2, b"\xff\xfe\x01\0"),
    ],
    ids=["maker is a float", "resolution is text", "resolution is NaN", "unit is 2^32", "block before the file", "XMP"],
)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_turned_picture_with_an_odd_tag_stands_upright(image_format: str, odd: tuple[int, int, int, bytes]):
    stored = part().transpose(Image.Transpose.ROTATE_90)
    options = {"lossless": True} if image_format == "WEBP" else {}
    prepared = seen(saved(stored, image_format, exif=exif_block(TURNED, odd), **options))
    assert prepared.size == (160, 120)
    left, right = left_and_right(prepared)
    assert close(left, RED)
    assert close(right, BLUE)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(orientation: int):
    data = saved(part(), "JPEG", exif=exif_block((0x0112, 3, 1, struct.pack("<HH", orientation, 0))))
    assert prepare(data) == data


@pytest.mark.parametrize(
    "odd",
    [
        (700, 3, 1, b"\x08\0\0\0"),
        (700, 2, 3, b"abc\0"),
        (34675, 2, 3, b"abc\0"),
        (34675, 4, 1, b"\x08\0\0\0"),
        (34665, 9, 1, b"\xff\xff\xff\xff"),
        (34853, 8, 1, b"\xff\xff\xff\xff"),
    ],
    ids=["XMP is a number", "XMP is text", "profile is text", "profile is a number", "EXIF before the file", "GPS too"],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_tiff_with_an_odd_tag_is_a_picture(odd: tuple[int, int, int, bytes], turned: bool):
    pixels = bytes([255, 255, 255, 0, 0, 0])  # three pixels wide, two high: white over black
    entries = [
        (256, 3, 1, b"\3\0\0\0"), (257, 3, 1, b"\2\0\0\0"), (258, 3, 1, b"\x08\0\0\0"), (259, 3, 1, b"\1\0\0\0"),
        (262, 3, 1, b"\1\0\0\0"), (273, 4, 1, b"\x08\0\0\0"), (277, 3, 1, b"\1\0\0\0"), (278, 3, 1, b"\2\0\0\0"),
        (279, 4, 1, b"\6\0\0\0"), odd, *([TURNED] if turned else []),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHI4s", *entry) for entry in sorted(entries))
    prepared = seen(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + bytes(4))
    assert prepared.size == ((2, 3) if turned else (3, 2))
    assert close(prepared.getpixel((1, 0)), 255, 4), "the right column, or the upper row"
    assert close(prepared.getpixel((0, 1)), 0, 4), "the left column, or the lower row"


def swapped_profile() -> bytes:
    """SRGB with its red and blue primaries exchanged: whoever ignores it sees blue for red."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(struct.unpack(">I", profile[128:132])[0]):
        entry = 132 + 12 * i
        tag = bytes(profile[entry : entry + 4])
        if tag in {b"rXYZ", b"bXYZ"}:
            profile[entry : entry + 4] = b"bXYZ" if tag == b"rXYZ" else b"rXYZ"
        if tag == b"desc":
            offset, size = struct.unpack(">II", profile[entry + 4 : entry + 12])
            text = bytes(profile[offset : offset + size])
            profile[offset : offset + size] = text.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    return bytes(profile)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
def test_an_embedded_profile_is_applied(image_format: str):
    red, green, blue = part().split()
    exchanged = Image.merge("RGB", (blue, green, red))
    left, right = left_and_right(seen(saved(exchanged, image_format, icc_profile=swapped_profile())))
    assert close(left, RED)
    assert close(right, BLUE)


def test_an_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(part(), "JPEG", icc_profile=profile)
    assert prepare(data) == data


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_profile_that_is_damaged_or_for_other_channels_is_left_out(mode: str):
    for profile in (b"no profile", swapped_profile()):
        if mode == "RGB" and profile == swapped_profile():
            continue
        left, right = left_and_right(seen(saved(part(mode), "JPEG", icc_profile=profile)).convert("RGB"))
        assert close(left, part(mode).convert("RGB").getpixel((40, 60)))
        assert close(right, part(mode).convert("RGB").getpixel((120, 60)))


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_taken(image_format: str):
    first, second = part(), Image.new("RGB", (160, 120), WHITE)
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = saved(first, image_format, save_all=True, append_images=[second], **options)
    left, right = left_and_right(seen(data))
    assert close(left, RED, 20)
    assert close(right, BLUE, 20)


@pytest.mark.parametrize("data", [b"", b"\0" * 5000, b"<html>no picture</html>", b"%PDF-1.7", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused_with_the_known_formats(data: bytes):
    with pytest.raises(UnusableImageError, match=r"not a picture of a known format .*JPEG, PNG, GIF, BMP, WEBP, TIFF"):
        prepare(data)


@pytest.mark.parametrize("image_format", ["PPM", "ICO", "JPEG2000", "EPS", "PCX", "TGA"])
def test_formats_that_are_not_offered_are_refused(image_format: str):
    with pytest.raises(UnusableImageError):
        prepare(saved(part(), image_format))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_found(image_format: str, share: float):
    data = saved(noise((90, 70)), image_format)
    with pytest.raises(UnusableImageError, match="damaged"):
        prepare(data[: int(len(data) * share)])


def test_noise_in_a_file_never_raises_anything_else():
    rng = np.random.default_rng(7)
    for image_format in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"):
        whole = np.frombuffer(saved(noise((40, 30)), image_format), np.uint8)
        for _ in range(60):
            broken = whole.copy()
            broken[rng.integers(0, min(len(broken), 400), 4)] = rng.integers(0, 256, 4)
            with suppress(UnusableImageError):
                seen(broken.tobytes())


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(7000, 7000), (100_000, 100_000), (2**31 - 1, 2)])
def test_a_decompression_bomb_is_refused_by_its_pixels(width: int, height: int):
    assert width * height > MAX_PIXELS
    with pytest.raises(UnusableImageError, match="too large to decode"):
        prepare(bomb(width, height))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP"])
def test_a_picture_of_too_many_bytes_is_scaled_down_in_proportion(image_format: str):
    data = saved(noise((1800, 1200)), image_format, **({"quality": 98} if image_format == "JPEG" else {}))
    assert len(data) > MAX_JPEG_BYTES
    prepared = seen(data)
    assert prepared.width / prepared.height == pytest.approx(1.5, rel=0.01)
    assert prepared.width < 1800


@pytest.mark.parametrize("size", [(30_000, 3), (3, 30_000), (1, 1)])
def test_extreme_proportions_are_taken(size: tuple[int, int]):
    prepared = seen(saved(Image.new("RGB", size, RED), "PNG"))
    assert max(prepared.size) <= MAX_SIDE
    assert close(prepared.getpixel((0, 0)), RED)


def test_a_large_jpeg_is_decoded_smaller():
    prepared = seen(saved(part(size=(6000, 5000)), "JPEG", quality=100, subsampling=0, icc_profile=swapped_profile()))
    assert max(prepared.size) <= MAX_SIDE
