"""Files from outside are decoded in processes of their own, within bounds of CPU time and memory.

No check before decoding holds for every format: the work that a file makes can hide in its scans, strips, chunks or tags,
in C and in Python. So the operating system ends a process whose time is used up. It counts CPU time, which does not grow
when the machine is busy. The caller's own process never runs a decoder.

Standard library only. The first call that needs a process starts it, and later ones reuse it. It ends with the process
that started it, because its standard input closes. Windows has neither bound: there only a crash is contained.
"""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib import import_module
from typing import IO, Final, NoReturn, cast

OPENING_SECONDS: Final = 3.0
"""CPU seconds for a file, whatever its size. A sound file is open in less than 0.1."""

SECONDS_FOR_A_MEGAPIXEL: Final = 0.3
"""CPU seconds for each million pixels, in addition. The slowest sound files measured take 0.08."""

MEMORY_BYTES: Final = 1_200_000_000
"""Address space of one process. The largest sound files measured, of 40 megapixels, need 930 million."""

LARGE_PIXELS: Final = 12_500_000
"""One image with more pixels is decoded at a time, and one with fewer beside it: a large one cannot delay small ones."""

PROCESSES: Final = 4
"""Files that are open at once; most of them wait for their turn to be decoded."""

_MEGA: Final = 1_000_000
_FRAME: Final = struct.Struct("<cQ")
_RESULT, _UNCHANGED, _UNUSABLE, _ERROR, _CLAIM = b"r", b"u", b"x", b"e", b"c"
_GO_ON: Final = b"\n"
_START: Final = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from imaging import bounded; bounded.work()"
_CRASHES: Final = {
    -getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGTRAP")
    if hasattr(signal, name)
}
_TIME_IS_UP: Final = -getattr(signal, "SIGPROF", 0)


class UnusableImageError(ValueError):
    """No model can take this file; the text tells a person why."""


class DecoderError(OSError):
    """Decoding failed for a reason that does not lie in the file: the same call can succeed later."""


def run(function: Callable[..., bytes], data: bytes, *arguments: object) -> bytes:
    """What `function(data, *arguments)` returns, run in another process within the bounds.

    Args:
        function: of a module's top level. It raises UnusableImageError for a file that it refuses, and calls
            :func:`claim` before it decodes pixels.
        data: the file.
        *arguments: whatever `pickle` takes.

    Raises:
        UnusableImageError: by the function, or because the file takes too long or too much memory or crashes its decoder.
        DecoderError: the process was ended from outside, or the function has a fault.
    """
    with _places:
        try:
            process = _idle.pop()
        except IndexError:
            process = _Process()
        kind, content = process.run(function, data, arguments)
        _idle.append(process)  # not after an exception: then it has ended
    if kind == _UNUSABLE:
        raise UnusableImageError(content.decode())
    if kind == _ERROR:
        raise DecoderError(content.decode())
    return data if kind == _UNCHANGED else content


def claim(pixels: int) -> None:
    """Wait for the turn of an image of so many pixels, and extend the time by its share; once for each image."""
    if _to_starter is None:
        return  # called by the function's own tests, outside a process of this module
    _send(_to_starter, _CLAIM, str(pixels).encode())
    if sys.stdin.buffer.read(len(_GO_ON)) != _GO_ON:
        sys.exit()
    if hasattr(signal, "setitimer"):
        left, _ = signal.getitimer(signal.ITIMER_PROF)
        signal.setitimer(signal.ITIMER_PROF, left + _seconds(pixels) - OPENING_SECONDS)


def _seconds(pixels: int) -> float:
    return OPENING_SECONDS + SECONDS_FOR_A_MEGAPIXEL * pixels / _MEGA


# In the process that starts the others


class _Process:
    """One of them, as its starter sees it."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._in, self._out = cast("IO[bytes]", self._popen.stdin), cast("IO[bytes]", self._popen.stdout)

    def run(self, function: Callable[..., bytes], data: bytes, arguments: tuple[object, ...]) -> tuple[bytes, bytes]:
        """The kind and the content of the answer; one of :func:`run`'s errors once the process has ended."""
        pixels = 0
        with ExitStack() as turn:
            try:
                # sys.path too: it can have grown since the process started.
                pickle.dump((sys.path, function.__module__, function.__name__, data, arguments), self._in)
                self._in.flush()
                while (answer := self._answer())[0] == _CLAIM:
                    pixels = int(answer[1])
                    turn.enter_context(_large if pixels > LARGE_PIXELS else _small)
                    self._in.write(_GO_ON)
                    self._in.flush()
            except (OSError, EOFError):
                self._explain_end(pixels)
        return answer

    def _answer(self) -> tuple[bytes, bytes]:
        head = self._out.read(_FRAME.size)
        if len(head) < _FRAME.size:
            raise EOFError
        kind, length = _FRAME.unpack(head)
        content = self._out.read(length)
        if len(content) < length:
            raise EOFError
        return kind, content

    def _explain_end(self, pixels: int) -> NoReturn:
        with suppress(OSError):
            self._in.close()
        self._out.close()
        code = self._popen.wait()
        if code == _TIME_IS_UP:
            allowed = f"over {_seconds(pixels):.1f} s of CPU time"
            raise UnusableImageError(
                f"the image takes too long to decode: {allowed}, the limit for {pixels / _MEGA:.1f} megapixels"
                if pixels
                else f"the file takes too long to read: {allowed}"
            )
        if code in _CRASHES:
            raise UnusableImageError(f"the image is damaged: its decoder crashed ({signal.Signals(-code).name})")
        raise DecoderError(f"the process that decodes images ended with exit code {code}: is there enough memory?")


_places = threading.BoundedSemaphore(PROCESSES)
_idle: list[_Process] = []
_large, _small = threading.Lock(), threading.Lock()


# In the processes that are started

_to_starter: IO[bytes] | None = None


def work() -> None:
    """Answer what the starter sends, until it closes standard input."""
    global _to_starter  # noqa: PLW0603 - there is one for the whole process
    _to_starter = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not pass for an answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the starter
    _limit_memory()
    with suppress(EOFError, BrokenPipeError):
        while True:
            sys.path[:], module, name, data, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the starter alone
            kind, content = _answer_within_time(getattr(import_module(module), name), data, arguments)
            _send(_to_starter, kind, content)


def _answer_within_time(
    function: Callable[..., bytes], data: bytes, arguments: tuple[object, ...]
) -> tuple[bytes, bytes]:
    timer = getattr(signal, "setitimer", None)
    if timer:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process, also in the middle of a decoder in C
        timer(signal.ITIMER_PROF, OPENING_SECONDS)
    try:
        result = function(data, *arguments)
    except UnusableImageError as error:
        return _UNUSABLE, str(error).encode(errors="backslashreplace")
    except MemoryError:
        return _UNUSABLE, f"the image takes too much memory to decode: over {MEMORY_BYTES:,} bytes".encode()
    except Exception:  # noqa: BLE001 - the starter raises it again
        return _ERROR, traceback.format_exc().encode(errors="backslashreplace")
    finally:
        if timer:
            timer(signal.ITIMER_PROF, 0)
    return (_UNCHANGED, b"") if result is data else (_RESULT, result)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return
    with suppress(OSError, ValueError):  # macOS does not take every value
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        allowed = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _send(to: IO[bytes], kind: bytes, content: bytes) -> None:
    to.write(_FRAME.pack(kind, len(content)))
    to.write(content)
    to.flush()
