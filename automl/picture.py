"""A file made into what is sent to a model: the same that the deployed function makes of it.

The function's `picture.py` is the rule, also for rarer formats; a test holds both together. Thresholds that were chosen
on other pictures than the line sends would be wrong.
"""

import io
import math

from PIL import Image

from imaging import bounded
from imaging.bounded import UnusableImageError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
MAX_JPEG_BYTES = 1_100_000
MAX_SIDE = 4096
MAX_PIXELS = 40_000_000

_QUALITY = 90
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by EXIF's orientation. (ImageOps.exif_transpose fails where any tag is odd.)"""
_SUITS_A_MODEL = ("L", "RGB")


def prepare(data: bytes) -> bytes:
    """The picture as an upright JPEG of at most :data:`MAX_JPEG_BYTES`; one that is so already as it came.

    Raises:
        UnusableImageError: it is no picture, damaged, too large, or takes too long to decode.
        bounded.DecoderError: decoding failed, and not because of the file.
    """
    return bounded.run(_prepare, data)


def _prepare(data: bytes) -> bytes:
    image = _opened(data)
    try:
        image.draft(None, (MAX_SIDE, MAX_SIDE))
        image.load()
        turn = _turn(image)
        if image.format == "JPEG" and image.mode in _SUITS_A_MODEL and turn is None and len(data) <= MAX_JPEG_BYTES:
            return data
        image.thumbnail((MAX_SIDE, MAX_SIDE), reducing_gap=2.0)
        return _fitting_jpeg(_flat(image if turn is None else image.transpose(turn)))
    except MemoryError:
        raise
    except Exception as error:
        # What a damaged file makes a decoder raise is not limited to any few types.
        raise _damaged(error) from error


def thumbnail(data: bytes, side: int) -> bytes:
    """A JPEG of at most `side` pixels in width and height, for a person to look at.

    Raises:
        UnusableImageError, bounded.DecoderError: as :func:`prepare`.
    """
    return bounded.run(_thumbnail, data, side)


def _thumbnail(data: bytes, side: int) -> bytes:
    image = _opened(data)
    try:
        image.draft("RGB", (side, side))
        image.load()
        turn = _turn(image)
        small = (image if turn is None else image.transpose(turn)).convert("RGB")
        small.thumbnail((side, side))
        return _jpeg(small)
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> UnusableImageError:
    return UnusableImageError(f"the picture is damaged or incomplete: {error or type(error).__name__}")


def _opened(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        raise UnusableImageError(f"it is no picture of a known format: {error or type(error).__name__}") from error
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImageError(f"the picture is too large to decode: over {MAX_PIXELS:,} pixels")
    bounded.claim(image.width * image.height)
    return image


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - the picture is good even where its EXIF block is damaged in any way
        return None


def _flat(image: Image.Image) -> Image.Image:
    """Eight bits, and white where it is transparent."""
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        white.alpha_composite(opaque)
        return white.convert("RGB")
    if image.mode.startswith("I;16"):
        return image.convert("I").convert("F").point(lambda value: value * (255.0 / 65535.0) + 0.5).convert("L")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in _SUITS_A_MODEL else image.convert("RGB")


def _fitting_jpeg(image: Image.Image) -> bytes:
    while len(jpeg := _jpeg(image)) > MAX_JPEG_BYTES:
        scale = min(0.9, math.sqrt(MAX_JPEG_BYTES / len(jpeg)))
        image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), reducing_gap=2.0)
    return jpeg


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()
