"""Mutations of JSON and of bytes, as a seed says; and the counts of what became of them."""

import copy
import faulthandler
import hashlib
import json
import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

SECONDS_MORE: Final = 60.0
"""After which a mutation that cannot be interrupted, as it is in C code, ends the process with a traceback."""
MEMORY_FOR_ONE: Final = 300_000_000
"""Bytes by which one mutation may make the process larger."""
_STDERR: Final = os.dup(2)
"""Where a traceback is seen whatever becomes of standard error meanwhile."""
_DRAWS: Final = 1000
"""For one mutation that is not like another; more would mean that there are none left."""

_Drawn = TypeVar("_Drawn")
_Answer = TypeVar("_Answer")


class TookTooLongError(BaseException):
    """Raised wherever the hanging code is; no `except Exception` of it may take it for its own."""


@dataclass(kw_only=True)
class Fuzzed:
    """What became of the mutations of one target."""

    target: str
    memory_for_one: int = MEMORY_FOR_ONE
    count: int = 0
    """Mutations so far, no two of them alike and none like an original."""
    originals: int = 0
    """What was sent besides as it should be."""
    outcomes: Counter[str] = field(default_factory=Counter[str])
    findings: Counter[str] = field(default_factory=Counter[str])
    """What must never be, and how often it was. Empty is good."""
    examples: dict[str, str] = field(default_factory=dict[str, str])
    """What led to the first finding of each kind."""
    seconds: float = 0
    slowest: float = 0
    """Seconds, of one mutation."""
    peak_bytes: int = 0
    """Of the process that worked on the mutations, with whatever else is in it."""
    _seen: set[bytes] = field(default_factory=set[bytes], repr=False)

    @property
    def holds(self) -> bool:
        """Whether nothing happened that must never be."""
        return not self.findings

    def find(self, what: str, about: object) -> None:
        """Note what must never be, and what led to it."""
        self.findings[what] += 1
        self.examples.setdefault(what, str(about)[:2000])

    def is_new(self, *mutation: object) -> bool:
        """Whether no mutation of this target was like this one; from now on one is."""
        digest = hashlib.blake2b(repr(mutation).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True

    def drawn(self, draw: Callable[[], _Drawn], *originals: object) -> _Drawn:
        """A mutation that is like none of the originals and none before."""
        for _ in range(_DRAWS):
            mutation = draw()
            if mutation not in originals and self.is_new(mutation):
                return mutation
        raise RuntimeError(f"{self.target}: nothing new in {_DRAWS} draws, after {self.count}")

    @contextmanager
    def timed(self) -> Generator[None]:
        """Measure the whole."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    def one(
        self, about: object, do: Callable[[], _Answer], *, limit: float, is_original: bool = False
    ) -> _Answer | None:
        """Count and measure one mutation, which may take `limit` seconds; None if it was interrupted then."""
        self.count += not is_original
        self.originals += is_original
        forget_peak()
        before, start = peak_bytes(), time.perf_counter()
        answer = None
        try:
            with _interrupted_after(limit):
                answer = do()
        except TookTooLongError:
            self.find("took too long and was interrupted", f"{limit:g} s: {about}")
        self.slowest = max(self.slowest, time.perf_counter() - start)
        peak = peak_bytes()
        self.peak_bytes = max(self.peak_bytes, peak)
        if peak - before > self.memory_for_one:
            self.find("took too much memory", f"{(peak - before) / 2**20:.0f} MiB: {about}")
        return answer


@contextmanager
def _interrupted_after(seconds: float) -> Generator[None]:
    """Raises TookTooLongError in what runs then; and ends the process if even that does not stop it."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise TookTooLongError

    start = time.monotonic()
    handler = signal.signal(signal.SIGALRM, interrupt)
    faulthandler.dump_traceback_later(seconds + SECONDS_MORE, exit=True, file=_STDERR)
    # Again and again, should the first be caught by what it interrupts.
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, handler)
        if left:  # pytest's own time-out
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - start)), interval)


_STATUS: Final = Path("/proc/self/status")


def forget_peak(process: int | None = None) -> None:
    """Linux alone can; elsewhere the peak is the process's own, from its start."""
    if _STATUS.exists():
        Path(f"/proc/{process or 'self'}/clear_refs").write_text("5")


def peak_bytes(process: int | None = None) -> int:
    """Of this process (elsewhere than on Linux), or of another one, in memory since it was forgotten."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path(f"/proc/{process or 'self'}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


NASTY: Sequence[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**30, -(10**30), 0.5, -0.0, 1.0000001, 1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"),
    "", " ", "0", "-1", "1e5", "0x10", "١٢", "9" * 19, "9" * 400, "nan", "null", "true", "a" * 70_000, "ü" * 1025,
    "\0", "\n", "\r\nX-Header: 1", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "x\udfffy", "\U0001f600", "é",
    "..", ".", "/", "//", "../../etc/passwd", "a/../b", "%00", "%2e%2e%2f", "a?b#c", "gs://b/o", "ok/", "unclear/x",
    "${jndi:x}", "{{7*7}}", "<script>", "'; --", "=1+1", "`id`",
    [], {}, [[]], {"": ""}, [None], {"a": None}, ["a"] * 500, {f"k{number}": "v" for number in range(500)},
    {"\ud800": "\ud800"}, {"": {"": {"": []}}},
]  # fmt: skip
"""Values that a reader may not have thought of."""


def mutated(value: Any, rng: random.Random, *, changes: int = 1) -> Any:  # noqa: ANN401 - any JSON
    """A copy of some JSON in which some places are other than they were."""
    root = [copy.deepcopy(value)]
    for _ in range(changes):
        holder, key = rng.choice(list(_places(root)))
        old = holder[key]
        match rng.randrange(8):
            case 0 | 1 | 2:
                holder[key] = copy.deepcopy(rng.choice(NASTY))
            case 3 if holder is not root:
                del holder[key]
            case 4:
                holder[key] = _nested(old, rng)
            case 5 if isinstance(holder, dict):
                holder[_new_key(key, rng)] = copy.deepcopy(rng.choice(NASTY))
            case 6 if isinstance(old, str):
                holder[key] = _edited(old, rng)
            case 7 if isinstance(old, int | float) and not isinstance(old, bool):
                holder[key] = rng.choice([-old, old + 1, old * 2, str(old), float(old) + 0.5, [old]])
            case _:
                other, place = rng.choice(list(_places(root)))
                holder[key] = copy.deepcopy(other[place])
    return root[0]


def as_json(value: Any, rng: random.Random) -> bytes:  # noqa: ANN401 - any JSON
    """The JSON's bytes; now and then deeper than a reader may go, or with surrogates as UTF-8 may not have them."""
    if rng.random() < 0.005:
        deep = rng.choice([900, 5000, 100_000])
        return b"[" * deep + json.dumps(value).encode() + b"]" * deep
    if rng.random() < 0.8:
        return json.dumps(value).encode()
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def mutated_bytes(data: bytes, rng: random.Random, *, changes: int = 1, head: int | None = None) -> bytes:
    """A copy in which bytes are changed, lost, doubled or put in; `head` is where most of it happens."""
    out = bytearray(data)
    for _ in range(changes):
        end = len(out) if head is None or rng.random() < 0.4 else min(head, len(out))
        at = rng.randrange(end) if end else 0
        match rng.randrange(9):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at] = rng.choice([0, 0xFF, 0x7F, 0x80, 1, 0x20])
            case 2:
                out[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
            case 3:
                out[at : at + 2] = rng.choice([b"\0\0", b"\xff\xff", b"\xff\x7f", b"\0\x80"])
            case 4:
                del out[at:]
            case 5:
                del out[at : at + rng.randrange(1, 64)]
            case 6:
                out[at:at] = out[at : at + rng.randrange(1, 64)]
            case 7:
                out[at:at] = rng.randbytes(rng.randrange(1, 16))
            case _:
                other = rng.randrange(len(out) or 1)
                out[at : at + 8] = out[other : other + 8]
    return bytes(out)


def _places(value: Any) -> Generator[tuple[Any, Any]]:  # noqa: ANN401 - any JSON
    """(holder, key) of every value below."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, below in items:
        yield value, key
        yield from _places(below)


def _nested(value: Any, rng: random.Random) -> Any:  # noqa: ANN401 - any JSON
    for _ in range(rng.choice([1, 2, 10, 40])):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _new_key(key: object, rng: random.Random) -> str:
    return rng.choice(["", "\ud800", "__proto__", f"{key} ", str(key).upper(), "a" * 5000, "constructor"])


def _edited(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    cut = at + rng.randrange(4)
    return text[:at] + rng.choice(["", "\0", "\ud800", "/", " ", "é", "9", "-", '"', "\\"]) + text[cut:]
