"""Small or valid-looking files that take decoders very long, each by other means, at most as large as predict reads.

Each was seen to take longer than its bound, or to come near to it, when Pillow 13 decoded it without one.
"""

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

from PIL import Image

MAX_FILE_BYTES: Final = 50_000_000
"""As predict has it."""
_SIDE: Final = 6_320
"""Of a square of just below 40 megapixels."""


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    """The image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def repeated_scans(side: int = _SIDE, times: int = 4_000, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    """A progressive JPEG whose last scan, a refinement, is there many times: each goes over all the pixels again."""
    data = saved(Image.new("L", (side, side), 77), "JPEG", progressive=True, **options)
    end = data.rindex(b"\xff\xd9")
    last = data.rindex(b"\xff\xda")
    return data[:end] + data[last:end] * times + data[end:]


def _markers(segment: bytes) -> bytes:
    data = saved(Image.new("L", (8, 8)), "JPEG")
    return data[:2] + segment * ((MAX_FILE_BYTES - len(data)) // len(segment)) + data[2:]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def _png(width: int, height: int, between: bytes, *, body: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = body or _chunk(b"IDAT", zlib.compress(bytes((width + 1) * height)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + between + rows + _chunk(b"IEND", b"")


class _Bits:
    def __init__(self) -> None:
        self.value, self.count = 0, 0

    def put(self, value: int, bits: int) -> None:
        self.value |= value << self.count
        self.count += bits


def table_blocks(size: int) -> bytes:
    """Deflate blocks each of which brings Huffman tables and then ends: hardly anything takes longer for a byte."""
    bits = _Bits()
    for _ in range(8):  # then the bits end at a whole byte, and can be repeated as they are
        bits.put(0, 1)
        bits.put(2, 2)
        bits.put(0, 5)  # 257 literals and lengths
        bits.put(0, 5)  # 1 distance
        bits.put(14, 4)  # 18 code lengths, up to that of 1
        for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
            bits.put({18: 1, 1: 1}.get(symbol, 0), 3)
        # Code: 1 is 0, 18 is 1. Literals 0..255 none (138 + 118), 256 and the distance of length 1.
        bits.put(1, 1)
        bits.put(138 - 11, 7)
        bits.put(1, 1)
        bits.put(118 - 11, 7)
        bits.put(0, 1)
        bits.put(0, 1)
        bits.put(0, 1)  # the end of the block
    block = bits.value.to_bytes((bits.count + 7) // 8, "little")
    assert bits.count % 8 == 0
    return block * (size // len(block))


def _deflated_late(rows: int, *, before: bytes) -> bytes:
    """A zlib stream of `rows` zero bytes after what holds nothing."""
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (
        b"\x78\x9c" + before + body.compress(bytes(rows)) + body.flush() + zlib.adler32(bytes(rows)).to_bytes(4, "big")
    )


def _tiff(entries: dict[int, int | tuple[int, ...]], data: bytes) -> bytes:
    """A TIFF of `data` at offset 8; a value of a tag is a number, a tuple makes an array behind the data."""
    arrays, table = b"", []
    at = 8 + len(data)
    for tag, value in sorted(entries.items()):
        if isinstance(value, tuple):
            table.append(struct.pack("<HHII", tag, 4, len(value), at + len(arrays)))
            arrays += struct.pack(f"<{len(value)}I", *value)
        else:
            table.append(struct.pack("<HHII", tag, 4, 1, value))
    directory = struct.pack("<H", len(table)) + b"".join(table) + bytes(4)
    return b"II*\0" + struct.pack("<I", at + len(arrays)) + data + arrays + directory


def shared_strips(strips: int = 39_900) -> bytes:
    """A TIFF whose strips all lie in the same place, where much has to be read for each row."""
    width, deflate = 1_000, 8
    # libtiff reads no more than ten times the bytes that a strip unpacks to, and 4,096.
    data = _deflated_late(width, before=table_blocks(10 * width + 4_000))
    return _tiff(
        {256: width, 257: strips, 258: 8, 259: deflate, 262: 1, 277: 1, 278: 1,
         273: (8,) * strips, 279: (len(data),) * strips},
        data,
    )  # fmt: skip


def _many_strips() -> bytes:
    count = 3_000_000
    return _tiff(
        {256: 1, 257: count, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1, 273: (8,) * count, 279: (1,) * count}, bytes(16)
    )


def _bmp_of_runs() -> bytes:
    """Each pixel a run of its own."""
    side = 4_950
    row = b"\x01\x07" * side + b"\0\0"
    data = row * side + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    start = 14 + len(head) + 1_024
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + bytes(1_024) + data


def _gif_extensions() -> bytes:
    gif = saved(Image.new("L", (2, 2)), "GIF")
    at = gif.index(b",")
    return gif[:at] + b"\x21\xfe\x01a\x00" * (9_000_000) + gif[at:]


SLOW_FILES: Final[dict[str, Callable[[], bytes]]] = {
    "JPEG: 40 megapixels, scans repeat 4,000 times": repeated_scans,
    "JPEG: 12 megapixels, scans repeat 20,000 times": lambda: repeated_scans(3_500, 20_000),
    "JPEG: bytes before a marker": lambda: _markers(b"\xff"),
    "JPEG: empty segments": lambda: _markers(b"\xff\xe5\0\2"),
    "JPEG: EXIF in pieces": lambda: _markers(b"\xff\xe1\0\x09Exif\0\0a"),
    "PNG: empty chunks": lambda: _png(8, 8, _chunk(b"tESt", b"") * 4_000_000),
    "PNG: empty chunks of pixels": lambda: _png(8, 8, _chunk(b"IDAT", b"") * 4_000_000),
    "PNG: blocks without content": lambda: _png(
        8, 8, b"", body=_chunk(b"IDAT", _deflated_late(72, before=table_blocks(49_000_000)))
    ),
    "GIF: comments": _gif_extensions,
    "BMP: a run for each pixel": _bmp_of_runs,
    "TIFF: strips that share their bytes": shared_strips,
    "TIFF: a strip for each pixel": _many_strips,
}
"""By how each works: what makes it."""


def slow_gzip() -> bytes:
    """Members without content."""
    return gzip.compress(b"", mtime=0) * (MAX_FILE_BYTES // 20)
