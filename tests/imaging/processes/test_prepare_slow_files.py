"""Files that would keep a decoder busy for minutes are refused within their time, and others do not wait for them."""

import io
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from imaging import bounded
from imaging.bounded import OPENING_SECONDS, SECONDS_FOR_A_MEGAPIXEL, UnusableImageError
from imaging.prepare import prepare, unpack
from tests.functions.slow_files import MAX_FILE_BYTES, SLOW_FILES, repeated_scans, saved, shared_strips, slow_gzip

MARGIN_SECONDS = 1.0
"""The start of Python, and the clock of the system."""


def cpu_seconds_of_ended_processes() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("make", "megapixels"),
    [
        (lambda: repeated_scans(3_500, 20_000), 12.25),
        (lambda: shared_strips(12_000), 12),
        (SLOW_FILES["PNG: empty chunks"], 0),
        (SLOW_FILES["JPEG: EXIF in pieces"], 0),
    ],
    ids=["the scans of a JPEG", "the strips of a TIFF", "the chunks of a PNG", "the head of a JPEG"],
)
def test_a_slow_file_is_refused_within_its_time(
    make: Callable[[], bytes], megapixels: float, monkeypatch: pytest.MonkeyPatch
):
    data = make()
    assert len(data) <= MAX_FILE_BYTES
    monkeypatch.setattr(bounded, "_idle", [])
    before = cpu_seconds_of_ended_processes()
    with pytest.raises(UnusableImageError, match=r"takes too long to (decode|read): over \d+\.\d s of CPU time"):
        prepare(data)
    allowed = OPENING_SECONDS + SECONDS_FOR_A_MEGAPIXEL * megapixels
    assert cpu_seconds_of_ended_processes() - before < allowed + MARGIN_SECONDS


def test_a_slow_gzip_is_refused():
    with pytest.raises(UnusableImageError, match="takes too long to read"):
        unpack(slow_gzip(), "gzip", at_most=MAX_FILE_BYTES)


def test_a_harmless_image_is_prepared_while_a_slow_one_is_decoded():
    harmless = saved(Image.linear_gradient("L").resize((4_000, 3_000)).convert("RGB"), "PNG")
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(prepare, repeated_scans())
        for _ in range(2):
            assert Image.open(io.BytesIO(prepare(harmless))).size == (4_000, 3_000)
        assert not slow.done(), "both were ready before the slow one had used up its time"
        with pytest.raises(UnusableImageError, match=r"takes too long to decode: over 15\.0 s of CPU time"):
            slow.result()
