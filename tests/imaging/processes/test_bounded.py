"""The bounds of CPU time and memory within which files from outside are decoded."""

import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imaging import bounded
from imaging.bounded import LARGE_PIXELS, OPENING_SECONDS, DecoderError, UnusableImageError, run
from tests.imaging import bounded_functions as functions

ROOT = Path(__file__).parents[3]
MARGIN_SECONDS = 2.0
"""The start of Python, which takes longer on a busy machine, and the clock of the system."""


def cpu_seconds_of_ended_processes() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process is there yet, and none is left, whose CPU time would count in the next test."""
    idle: list[Any] = []
    monkeypatch.setattr(bounded, "_idle", idle)
    yield
    for process in idle:
        process._popen.communicate()


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_the_result_comes_back_as_it_is():
    assert run(functions.reverse, b"abc") == b"cba"
    assert run(functions.reverse, bytes(5_000_000) + b"1") == b"1" + bytes(5_000_000)


def test_data_that_is_returned_unchanged_is_the_same_object():
    data = b"as it came"
    assert run(functions.keep, data) is data


def test_what_a_decoder_prints_is_not_taken_for_its_answer():
    assert run(functions.chatter, b"answer") == b"answer!"


def test_a_refusal_keeps_its_text_and_its_process(fresh: None):
    process = run(functions.process_id, b"")
    with pytest.raises(UnusableImageError, match=r"^unusable: file \\udcff$"):
        run(functions.refuse, b"file")
    with pytest.raises(DecoderError, match="KeyError: b'file'"):
        run(functions.fail, b"file")
    assert run(functions.process_id, b"") == process


@pytest.mark.parametrize("function", [functions.never_end_in_c, functions.never_end_in_python])
def test_a_file_that_never_ends_is_refused_once_its_cpu_time_is_used_up(
    function: Callable[[bytes], bytes], fresh: None
):
    before = cpu_seconds_of_ended_processes()
    with pytest.raises(UnusableImageError, match=r"^the file takes too long to read: over 3\.0 s of CPU time$"):
        run(function, b"abc")
    assert cpu_seconds_of_ended_processes() - before < OPENING_SECONDS + MARGIN_SECONDS
    assert run(functions.reverse, b"abc") == b"cba"


def test_an_image_has_more_time_by_its_pixels(fresh: None):
    before = cpu_seconds_of_ended_processes()
    with pytest.raises(UnusableImageError, match=r"over 4\.5 s of CPU time, the limit for 5\.0 megapixels"):
        run(functions.never_end_after_claim, b"5000000")
    # On a busy machine the timer, which counts whole ticks, runs up to a tenth ahead of the sum that is read here.
    assert 4.5 * 0.9 < cpu_seconds_of_ended_processes() - before < 4.5 + MARGIN_SECONDS


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_file_that_crashes_its_decoder_is_refused(name: str, fresh: None):
    with pytest.raises(UnusableImageError, match=rf"decoder crashed \({name}\)"):
        run(functions.kill, name.encode())
    assert run(functions.reverse, b"abc") == b"cba"


def test_a_file_that_takes_too_much_memory_is_refused(fresh: None):
    with pytest.raises(UnusableImageError, match=r"too much memory to decode: over 1,200,000,000 bytes"):
        run(functions.take_memory, b"2000000000")
    assert len(run(functions.take_memory, b"1000000")) == 1_000_000


@pytest.mark.parametrize(("function", "data"), [(functions.kill, b"SIGKILL"), (functions.leave, b"")])
def test_a_process_that_was_ended_from_outside_is_not_the_files_fault(
    function: Callable[[bytes], bytes], data: bytes, fresh: None
):
    with pytest.raises(DecoderError, match="exit code"):
        run(function, data)
    assert run(functions.reverse, b"abc") == b"cba"


def test_an_idle_process_that_was_ended_is_replaced_at_the_next_call_but_one(fresh: None):
    os.kill(int(run(functions.process_id, b"")), signal.SIGKILL)
    with pytest.raises(DecoderError):
        run(functions.reverse, b"abc")
    assert run(functions.reverse, b"abc") == b"cba"


def test_one_large_image_is_decoded_at_a_time_and_a_small_one_beside_it(tmp_path: Path, fresh: None):
    def let_end(name: str) -> None:
        wait_for(tmp_path / f"{name} is decoded")
        (tmp_path / f"{name} may end").write_bytes(b"")

    with ThreadPoolExecutor() as pool:
        first = pool.submit(run, functions.meet, f"first {LARGE_PIXELS + 1}".encode(), str(tmp_path))
        wait_for(tmp_path / "first is decoded")
        second = pool.submit(run, functions.meet, f"second {LARGE_PIXELS + 1}".encode(), str(tmp_path))
        wait_for(tmp_path / "second is opened")
        small = pool.submit(run, functions.meet, f"small {LARGE_PIXELS}".encode(), str(tmp_path))
        let_end("small")
        assert small.result()
        assert not (tmp_path / "second is decoded").exists()
        assert not first.done()
        let_end("first")
        let_end("second")
        assert first.result()
        assert second.result()


def test_a_module_whose_folder_was_added_later_is_found(fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    process = run(functions.process_id, b"")
    (tmp_path / "added_later.py").write_text("import os\ndef process_id(data): return str(os.getpid()).encode()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(importlib.import_module("added_later").process_id, b"") == process


def test_more_calls_than_processes_wait(fresh: None):
    with ThreadPoolExecutor(3 * bounded.PROCESSES) as pool:
        processes = set(pool.map(partial(run, functions.process_id), [b""] * 100))
    assert 1 <= len(processes) <= bounded.PROCESSES


def test_processes_end_with_their_starter(tmp_path: Path):
    program = (
        "import time; from imaging.bounded import run; from tests.imaging.bounded_functions import process_id\n"
        "print(run(process_id, b'').decode(), flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        process = int(starter.stdout.readline())
        os.kill(process, 0)
        starter.kill()
    while Path(f"/proc/{process}/cmdline").exists() and Path(f"/proc/{process}/cmdline").read_bytes():
        time.sleep(0.01)
