"""The one way from a camera's file to the JPEG that the models take and that a person is shown.

The line, the evaluation, the local trainer and the report all call it: scores that were measured on other pixels than the
line sends say nothing about the line.
"""

import gzip
import io
import math
import warnings
import zlib
from contextlib import suppress

from PIL import Image, ImageCms

from imaging import bounded
from imaging.bounded import UnusableImageError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
"""What is read, by content and not by name. Only formats with a decoder that is kept up: others are a way in."""

MAX_JPEG_BYTES = 1_100_000
"""The models take 1.5 MB. For Vertex that is the whole request, where the picture is base64 (4 bytes for 3)."""

MAX_PIXELS = 40_000_000
"""Of the file, before decoding: a few kilobytes can claim to be gigapixels. 40 million are 160 MB in memory."""

MAX_SIDE = 4096
"""Pixels of the longer side after any conversion. The models look at about 1,000."""

_TOO_LARGE = f"the picture is too large to decode: over {MAX_PIXELS:,} pixels"
_QUALITY = 90
_SUITS_A_MODEL = ("L", "RGB")
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
"""What makes a picture upright, by EXIF's orientation; 1 is upright, and others are none."""

_GZIP = ("gzip", "x-gzip")

# Pillow's own guard stays as a second one behind MAX_PIXELS; it raises above twice this.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# Nor are its remarks on odd files of use in the log: a file is used, or its reason goes with it.
warnings.filterwarnings("ignore", module="PIL")


def unpack(data: bytes, encoding: str | None, *, at_most: int) -> bytes:
    """What was uploaded with this `Content-Encoding`, of at most so many bytes.

    The names of codings have no case, and several are listed in the order in which they were applied
    (https://www.rfc-editor.org/rfc/rfc9110#name-content-encoding).

    Raises:
        UnusableImageError: the coding is not gzip, or the data is not gzip, incomplete, larger, or takes too long.
    """
    codings = [coding.strip().lower() for coding in (encoding or "").split(",")]
    codings = [coding for coding in codings if coding not in {"", "identity"}]
    for coding in codings:
        if coding not in _GZIP:
            raise UnusableImageError(
                f"the file is compressed with {coding[:100]!r} (its Content-Encoding). Upload it with gzip, or as it is"
            )
    if len(codings) > 1:
        raise UnusableImageError(
            f"the file is compressed {len(codings)} times (its Content-Encoding). Compress it once"
        )
    return bounded.run(_unpack, data, at_most) if codings else data


def _unpack(data: bytes, at_most: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            unpacked = packed.read(at_most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnusableImageError(
            f"the file is said to be compressed with gzip, and cannot be unpacked: {error}"
        ) from error
    if len(unpacked) > at_most:
        raise UnusableImageError(f"the file is too large: it unpacks to more than {at_most:,} bytes")
    return unpacked


def prepare(data: bytes) -> bytes:
    """Return the image as an upright JPEG, grey or sRGB, of at most :data:`MAX_JPEG_BYTES`.

    Only the first frame is used. A file that already meets these rules is returned unchanged.

    Raises:
        UnusableImageError: it is not an image, damaged, too large, or takes too long to decode.
        DecoderError: decoding failed for a reason that does not lie in the file.
    """
    return bounded.run(_prepare, data)


def thumbnail(data: bytes, side: int) -> bytes:
    """A JPEG of at most `side` pixels in width and height: what :func:`prepare` makes of the file, made small.

    Raises:
        UnusableImageError, DecoderError: as :func:`prepare`.
    """
    return bounded.run(_thumbnail, data, side)


def _thumbnail(data: bytes, side: int) -> bytes:
    small = Image.open(io.BytesIO(_prepare(data)), formats=["JPEG"])
    small.thumbnail((side, side))
    return _jpeg(small)


def _prepare(data: bytes) -> bytes:
    try:
        return _decoded(data)
    except (UnusableImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UnusableImageError(_TOO_LARGE) from error
    except Exception as error:
        # What a damaged file makes a decoder raise is not limited to any few types.
        raise UnusableImageError(f"the picture is damaged or incomplete: {error or type(error).__name__}") from error


def _decoded(data: bytes) -> bytes:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise UnusableImageError(
            f"the file is not a picture of a known format ({', '.join(FORMATS)}), or its beginning is damaged"
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImageError(_TOO_LARGE)
    bounded.claim(image.width * image.height)
    _forget_odd_metadata(image)
    # A large JPEG is decoded at a half, a quarter or an eighth: faster, and with so much less memory.
    image.draft(None, (MAX_SIDE, MAX_SIDE))
    image.load()
    turn = _TURNS.get(_orientation(image))
    profile: bytes | None = image.info.get("icc_profile")
    if (
        image.format == "JPEG"
        and image.mode in _SUITS_A_MODEL
        and turn is None
        and (profile is None or _is_srgb(profile))
        and len(data) <= MAX_JPEG_BYTES
    ):
        return data
    flat = _to_eight_bits(image)
    flat.thumbnail((MAX_SIDE, MAX_SIDE), reducing_gap=2.0)
    if turn is not None:
        # Not by ImageOps.exif_transpose: that also rewrites the EXIF block, and fails where one tag in it is odd.
        flat = flat.transpose(turn)
    return _fitting_jpeg(_to_srgb(_over_white(flat), profile))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - the picture is good even where its EXIF block is damaged in any way
        return 1


def _forget_odd_metadata(image: Image.Image) -> None:
    """Take away what Pillow cannot take as it stands in a TIFF's tags, and would refuse a good picture for."""
    for key in ("xmp", "icc_profile"):
        if not isinstance(image.info.get(key, b""), bytes):
            del image.info[key]
    if image.format == "TIFF":
        with suppress(Exception):
            exif = image.getexif()
            for tag in set(exif) - {_ORIENTATION}:
                del exif[tag]


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits scaled to 8; every other mode as it is.

    16 bits span black to white by their format. Whole numbers of 32 bits and floats have no agreed white: the
    smallest usual one is taken that holds the brightest pixel, so that pictures of one camera keep their relation.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    if image.mode.startswith("I;16"):
        bits = _tiff_bits(image)
        white = float(2**bits - 1)
        wide = image.convert("I").convert("F")
    else:
        wide = image.convert("F")
        _, brightest = wide.getextrema()
        if not isinstance(brightest, float) or not math.isfinite(brightest):
            raise UnusableImageError("the picture has pixels that are no numbers")
        usual = [1.0] if image.mode == "F" else []
        white = next((white for white in (*usual, 255.0, 65535.0) if brightest <= white), brightest)
    scale = 255.0 / white
    return wide.point(lambda value: value * scale + 0.5).convert("L")


def _tiff_bits(image: Image.Image) -> int:
    """Of a 16-bit mode, how many the file uses: TIFF knows 12-bit grey, which Pillow leaves unscaled."""
    bits_per_sample = 258
    tags = getattr(image, "tag_v2", {})
    (bits,) = tags.get(bits_per_sample, (16,))
    return bits


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    opaque = image.convert("RGBA")
    white = Image.new("RGBA", opaque.size, "white")
    white.alpha_composite(opaque)
    return white.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Grey stays grey, everything else becomes RGB; by the embedded profile, if there is one and it fits."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "P":
        image = image.convert("RGB")
    if image.mode == "LAB":
        return _converted(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if profile is not None and not _is_srgb(profile):
        try:
            return _converted(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError):
            pass  # a damaged profile, or one for other channels than the picture has: as if there were none
    return image if image.mode in _SUITS_A_MODEL else image.convert("RGB")


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    mode = "L" if image.mode == "L" else "RGB"
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:  # only with inPlace, which is not asked for
        raise ImageCms.PyCMSError("no picture came of the conversion")
    return converted.convert(mode)


def _is_srgb(profile: bytes) -> bool:
    try:
        return "srgb" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()
    except (ImageCms.PyCMSError, OSError):
        return False


def _fitting_jpeg(image: Image.Image) -> bytes:
    while len(jpeg := _jpeg(image)) > MAX_JPEG_BYTES:
        scale = min(0.9, math.sqrt(MAX_JPEG_BYTES / len(jpeg)))
        image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), reducing_gap=2.0)
    return jpeg


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()
