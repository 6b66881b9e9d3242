"""Mutated pictures of each format, and files that claim or unpack to far more than they are.

A process of its own works on them, with no more memory than predict has to spare: a decoder that crashes, hangs or takes
too much ends that process, and the picture that did it is known.

python -m proof.fuzz_pictures FORMAT FIRST COUNT SEED: the worker; a line of JSON for each picture
"""

import gzip
import io
import json
import os
import random
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psutil
from PIL import Image, ImageCms, ImageDraw

from imaging import prepare as preparing
from proof.fuzz_mutations import Fuzzed, forget_peak, mutated_bytes, peak_bytes
from tests.functions.slow_files import SLOW_FILES

ROOT: Final = Path(__file__).resolve().parents[1]
FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
GZIP: Final = "gzip"
"""Pictures of every format as they lie in a bucket with `Content-Encoding: gzip`, the mutations behind or in front of it."""
BOMBS: Final = "bombs"
SLOW: Final = "slow"
"""Files that keep a decoder busy for long, each by other means."""
PLANTED: Final = "planted"
"""No pictures but faults of a decoder, to see that each is found."""
_FAULTS: Final = (b"good", b"crash", b"hang", b"memory", b"surprise", b"chatter", b"busy", b"good")

SECONDS_FOR_ONE: Final = 60.0
"""Generous for a busy machine: four times the CPU time after which the largest picture is refused."""
CPU_SECONDS_FOR_ONE: Final = 16.0
"""Of the process and of those in which it decodes: 15 for the largest picture, and what is not decoding."""
MEMORY_BYTES: Final = 1_500_000_000
"""Of address space, the interpreter's own included: predict has 2 Gi, and decodes one picture at a time."""
MAX_FILE_BYTES: Final = 50_000_000
"""As predict has it."""
MAX_ERROR_BYTES: Final = 2_000
"""The reason goes with the picture as metadata, of which an object has 8 KiB."""


def fuzz_pictures(count: int, seed: int, *, formats: tuple[str, ...] = (*FORMATS, GZIP, BOMBS, SLOW)) -> list[Fuzzed]:
    """`count` mutations of pictures of each format; the same for the same seed."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(partial(_fuzz, count=count, seed=seed), formats))


def _count(kind: str, count: int) -> int:
    return {BOMBS: len(_bombs()), SLOW: len(SLOW_FILES), PLANTED: len(_FAULTS)}.get(kind, count)


def _fuzz(kind: str, *, count: int, seed: int) -> Fuzzed:
    count = _count(kind, count)
    fuzzed = Fuzzed(target=f"predict's {'unpack' if kind == GZIP else 'prepare'}: {kind}")
    with fuzzed.timed():
        while fuzzed.count < count:
            # A worker that ended before its time is followed by one for what comes after the picture that ended it.
            _run_worker(fuzzed, kind, count, seed)
    return fuzzed


def _run_worker(fuzzed: Fuzzed, kind: str, count: int, seed: int) -> None:
    first = fuzzed.count
    arguments = [sys.executable, "-m", __spec__.name, kind, str(first), str(count - first), str(seed)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        for result in _results(worker):
            if result is None:
                worker.kill()
                fuzzed.count += 1
                fuzzed.find("took too long and was ended", f"{kind} {fuzzed.count - 1} of seed {seed}")
                return
            fuzzed.count += 1
            fuzzed.outcomes[result["outcome"]] += 1
            fuzzed.slowest = max(fuzzed.slowest, result["seconds"])
            fuzzed.peak_bytes = max(fuzzed.peak_bytes, result["peak_bytes"])
            if result["cpu_seconds"] > CPU_SECONDS_FOR_ONE:
                about = f"{kind} {result['number']} of seed {seed}: {result['cpu_seconds']:.1f} s"
                fuzzed.find("took too much CPU time", about)
            if result["finding"]:
                fuzzed.find(result["finding"], f"{kind} {result['number']} of seed {seed}: {result['about']}")
        worker.wait()
        if fuzzed.count < count:
            fuzzed.count += 1
            said = worker.stderr.read().decode(errors="replace")[-500:] if worker.stderr else ""
            fuzzed.find(
                "the process ended", f"{kind} {fuzzed.count - 1} of seed {seed}: exit code {worker.returncode}: {said}"
            )


def _results(worker: "subprocess.Popen[bytes]") -> Generator[dict[str, Any] | None]:
    """What the worker says of each picture; None once it says nothing for too long."""
    assert worker.stdout is not None
    while select.select([worker.stdout], [], [], SECONDS_FOR_ONE)[0]:
        line = worker.stdout.readline()
        if not line:
            return
        yield json.loads(line)
    yield None


def main(kind: str, first: int, count: int, seed: int) -> None:
    """The worker."""
    if kind == PLANTED:
        preparing.prepare = _planted
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, data in enumerate(islice(_files(kind, seed), first, first + count), start=first):
        for process in (None, *_decoders()):
            forget_peak(process)
        start, cpu_seconds = time.perf_counter(), _cpu_seconds()
        outcome, finding, about = _prepared(data, is_gzip=kind == GZIP)
        print(  # noqa: T201 - read by the process that started this one
            json.dumps(
                {
                    "number": number,
                    "outcome": outcome,
                    "finding": finding,
                    "about": about,
                    "seconds": time.perf_counter() - start,
                    "cpu_seconds": _cpu_seconds() - cpu_seconds,
                    "peak_bytes": sum(peak_bytes(process) for process in (None, *_decoders())),
                }
            ),
            flush=True,
        )


def _decoders() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def _cpu_seconds() -> float:
    """Of this process and of all that it started."""
    own = os.times()
    running = [child.cpu_times() for child in psutil.Process().children()]
    return own.user + own.system + own.children_user + own.children_system + sum(t.user + t.system for t in running)


def _prepared(data: bytes, *, is_gzip: bool) -> tuple[str, str, str]:
    """(outcome, finding, about it) of one file."""
    try:
        if is_gzip:
            data = preparing.unpack(data, "gzip", at_most=MAX_FILE_BYTES)
        jpeg = preparing.prepare(data)
    except preparing.UnusableImageError as error:
        text = str(error)
        if not text or len(text.encode("utf-8", "surrogatepass")) > MAX_ERROR_BYTES:
            return "refused", "a reason that is none, or too long", repr(text[:200])
        try:
            text.encode()
        except UnicodeEncodeError:
            return "refused", "a reason that cannot be told", repr(text)
        if "decoder crashed" in text:
            return "refused", "the decoder crashed", text
        return "refused for its time" if "takes too long" in text else "refused with a reason", "", ""
    except BaseException as error:  # noqa: BLE001 - any other is a finding, a MemoryError too
        return "crashed", f"unexpected {type(error).__name__}", str(error)[:300]
    with Image.open(io.BytesIO(jpeg)) as seen:
        suits = seen.format == "JPEG" and seen.mode in {"L", "RGB"} and len(jpeg) <= preparing.MAX_JPEG_BYTES
        suits = suits and (jpeg == data or max(seen.size) <= preparing.MAX_SIDE)
        about = f"{seen.format} {seen.mode} {seen.size} {len(jpeg)} bytes"
    return "prepared", "" if suits else "prepared to what no model takes", about


def _planted(data: bytes) -> bytes:
    match data:
        case b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"hang":
            threading.Event().wait()
        case b"busy":
            until = time.process_time() + 1.5
            while time.process_time() < until:
                pass
        case b"memory":
            bytearray(2 * MEMORY_BYTES)
        case b"surprise":
            raise KeyError(data)
        case b"chatter":
            raise preparing.UnusableImageError("too large " * 1000)
        case _:
            pass
    return _pictures()["JPEG"][0]


def _files(kind: str, seed: int) -> Iterator[bytes]:
    match kind:
        case "bombs":
            return (bomb() for bomb in _bombs())
        case "slow":
            return (make() for make in SLOW_FILES.values())
        case "planted":
            return iter(_FAULTS)
        case _:
            return mutated_pictures(kind, seed)


def mutated_pictures(kind: str, seed: int) -> Iterator[bytes]:
    """Mutations without end, no two alike and none like a picture that is as it should be; the same for the same seed."""
    rng, fuzzed = random.Random(f"{seed} {kind}"), Fuzzed(target=kind)
    originals = (
        [gzip.compress(picture, mtime=0) for _, picture in _all_pictures()] if kind == GZIP else _pictures()[kind]
    )
    mutate = partial(_mutated_gzip, rng) if kind == GZIP else partial(_mutated_picture, kind, rng)
    while True:
        yield fuzzed.drawn(mutate, *originals)


def _all_pictures() -> list[tuple[str, bytes]]:
    return [(kind, picture) for kind, pictures in _pictures().items() for picture in pictures]


def _mutated_gzip(rng: random.Random) -> bytes:
    kind, picture = rng.choice(_all_pictures())
    if rng.random() < 0.02:
        return mutated_bytes(_packed_zeros(), rng, head=256)
    inside = rng.random() < 0.4
    packed = gzip.compress(_mutated_picture(kind, rng) if inside else picture, rng.choice([0, 1, 9]), mtime=0)
    if rng.random() < 0.1:
        packed += gzip.compress(picture, mtime=0)  # of several members, as a gzip may be
    return (
        packed if inside else mutated_bytes(packed, rng, changes=rng.choice([1, 1, 2, 4]), head=rng.choice([16, 256]))
    )


@cache
def _packed_zeros() -> bytes:
    return gzip.compress(bytes(20_000_000), mtime=0) * 10


def _mutated_picture(kind: str, rng: random.Random) -> bytes:
    data = rng.choice(_pictures()[kind])
    changes = rng.choice([1, 1, 2, 4, 16])
    data = mutated_bytes(data, rng, changes=changes, head=rng.choice([64, 256, 4096]))
    if rng.random() < 0.1:
        other = rng.choice(_pictures()[rng.choice(FORMATS)])
        data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]
    if kind == "PNG":
        # Or hardly any would come further than to its first wrong checksum.
        match rng.randrange(3):
            case 0:
                data = _with_checksums(data)
            case 1:
                data = _with_other_rows(rng.choice(_pictures()[kind]), rng)
            case _:
                pass
    return data


def _with_other_rows(png: bytes, rng: random.Random) -> bytes:
    """The pixels changed before they are compressed."""
    at = png.index(b"IDAT") - 4
    end = at + 12 + int.from_bytes(png[at : at + 4], "big")
    rows = zlib.compress(mutated_bytes(zlib.decompress(png[at + 8 : end - 4]), rng, changes=rng.choice([1, 4, 64])))
    return png[:at] + _chunk(b"IDAT", rows) + png[end:]


def _with_checksums(png: bytes) -> bytes:
    out, at = bytearray(png), 8
    while at + 12 <= len(out):
        length = int.from_bytes(out[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


@cache
def _pictures() -> Mapping[str, list[bytes]]:
    """Good pictures, of every mode, compression and extra that the format has and Pillow writes."""
    rgb = _drawn("RGB")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = Image.Exif()
    turned[0x0112] = 6
    grey16 = _drawn("L").convert("I").point(lambda value: value * 257).convert("I;16")
    palette = rgb.quantize(16)
    save: Callable[..., bytes] = _saved
    return {
        "JPEG": [
            save(rgb, "JPEG"),
            save(rgb, "JPEG", progressive=True, quality=30),
            save(rgb, "JPEG", subsampling=0, exif=turned, icc_profile=srgb, restart_marker_rows=1),
            save(_drawn("L"), "JPEG"),
            save(_drawn("CMYK"), "JPEG"),
        ],
        "PNG": [
            save(rgb, "PNG"),
            save(_drawn("RGBA"), "PNG"),
            save(palette, "PNG", transparency=3),
            save(_drawn("L"), "PNG", icc_profile=srgb),
            save(_drawn("1"), "PNG"),
            save(_drawn("LA"), "PNG", exif=turned),
            save(grey16, "PNG"),
            save(rgb, "PNG", save_all=True, append_images=[_drawn("RGB").rotate(90)]),
        ],
        "GIF": [
            save(palette, "GIF"),
            save(palette, "GIF", transparency=1, interlace=1),
            save(palette, "GIF", save_all=True, append_images=[palette.rotate(90), palette.rotate(180)], loop=0),
        ],
        "BMP": [save(_drawn(mode), "BMP") for mode in ("RGB", "RGBA", "L", "1", "P")],
        "WEBP": [
            save(rgb, "WEBP"),
            save(_drawn("RGBA"), "WEBP", lossless=True),
            save(rgb, "WEBP", exif=turned, icc_profile=srgb),
            save(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        ],
        "TIFF": [
            *(
                save(rgb, "TIFF", compression=compression)
                for compression in (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "tiff_adobe_deflate")
            ),
            *(save(_drawn(mode), "TIFF", compression="tiff_lzw") for mode in ("L", "RGBA", "CMYK", "LAB", "F", "P")),
            save(_drawn("1"), "TIFF", compression="group4"),
            save(grey16, "TIFF", exif=turned, icc_profile=srgb),
            save(rgb, "TIFF", tiffinfo={322: 16, 323: 16}, save_all=True, append_images=[rgb]),
        ],
    }


def _drawn(mode: str) -> Image.Image:
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.ellipse((10, 5, 50, 40), fill=(200, 30, 60))
    draw.line((0, 0, 63, 47), fill=(10, 200, 30))
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        return ImageCms.applyTransform(image, to_lab) or image
    return image.convert(mode)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def _bombs() -> list[Callable[[], bytes]]:
    """Small files that claim, or unpack to, very much; the large ones are made when it is their turn."""
    sides = [
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (100_000, 100_000),
        (65_535, 65_535),
        (40_000, 1_001),
        (0, 0),
        (6_325, 6_324),
    ]
    pngs = [_png(*side, rows) for side in sides for rows in (b"", _deflated(40_000_000))]
    texts = [
        _png(8, 8, zlib.compress(bytes(8 * 9)), (name, begin + _deflated(200_000_000)))
        for name, begin in ((b"zTXt", b"k\0\0"), (b"iCCP", b"p\0\0"), (b"iTXt", b"k\0\1\0\0\0"))
    ]
    huge = [(65_535, 65_535), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1)]
    tiffs = [
        _tiff({256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: rows, 279: 2**31 - 1})
        for width, height in huge
        for compression in (1, 5, 7, 8, 32_773)
        for rows in (1, height)
    ]
    tiffs += [_tiff({256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: count, 273: 8}) for count in (0, 65_535, 2**32 - 1)]
    frame = _saved(Image.new("L", (2, 2)), "GIF")
    descriptor = frame.index(b",")
    frames = frame[:descriptor] + frame[descriptor:-1] * 50_000 + b";"
    gifs = [frames] + [b"GIF89a" + struct.pack("<HHBBB", *side, 0x80, 0, 0) + bytes(6) + b"," + struct.pack("<HHHHB", 0, 0, *side, 0) + b"\x02\x02\x4c\x01\x00;" for side in ((65_535, 65_535), (6_300, 6_300), (0, 0))]  # fmt: skip
    bmps = [
        b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, *side, 1, bits, compression, 0, 0, 0, colours, 0)
        for side in ((2**31 - 1, 2**31 - 1), (-(2**31), -(2**31)), (100_000, 100_000), (6_000, 6_000))
        for bits, compression, colours in ((24, 0, 0), (8, 1, 2**32 - 1), (4, 2, 0), (32, 3, 0))
    ]  # fmt: skip
    webps = [b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\xff\xff" * 2 + b"VP8 \0\0\0\0"]
    claims = [*pngs, *texts, *tiffs, *gifs, *bmps, *webps]
    return [*(partial(bytes, claim) for claim in claims), *(partial(_unpacking, *large) for large in _LARGE)]


_LARGE: Final = (
    # mode, size, format, options: the largest that are decoded, 40 million pixels in a few kilobytes
    ("L", (6_324, 6_324), "PNG", {}),
    ("RGBA", (6_324, 6_324), "WEBP", {"lossless": True}),
    ("CMYK", (6_324, 6_324), "TIFF", {"compression": "tiff_lzw"}),
    ("F", (6_324, 6_324), "TIFF", {"compression": "tiff_lzw"}),
    ("I;16", (6_324, 6_324), "TIFF", {"compression": "tiff_lzw"}),
    ("RGB", (40_000_000, 1), "PNG", {}),
    ("L", (1, 40_000_000), "TIFF", {"compression": "tiff_lzw"}),
)


def _unpacking(mode: str, size: tuple[int, int], kind: str, options: dict[str, Any]) -> bytes:
    return _saved(Image.new(mode, size), kind, **options)


@cache
def _deflated(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def _png(width: int, height: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def _tiff(tags: dict[int, int]) -> bytes:
    """A TIFF of one directory, each tag a number of 32 bits, and some pixels."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4) + bytes(4096)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
