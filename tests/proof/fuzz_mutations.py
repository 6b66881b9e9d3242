"""Mutations of JSON and of bytes, as a seed says; and the counts of what became of them."""

import copy
import json
import random
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Fuzzed:
    """What became of the mutations of one target."""

    target: str
    count: int = 0
    """Mutations so far."""
    outcomes: Counter[str] = field(default_factory=Counter[str])
    findings: Counter[str] = field(default_factory=Counter[str])
    """What must never be, and how often it was. Empty is good."""
    examples: dict[str, str] = field(default_factory=dict[str, str])
    """What led to the first finding of each kind."""
    seconds: float = 0
    slowest: float = 0
    """Seconds, of one mutation."""
    peak_bytes: int | None = None
    """Of the process that worked on the mutations, where it was watched."""

    @property
    def holds(self) -> bool:
        """Whether nothing happened that must never be."""
        return not self.findings

    def find(self, what: str, about: object) -> None:
        """Note what must never be, and what led to it."""
        self.findings[what] += 1
        self.examples.setdefault(what, str(about)[:2000])

    @contextmanager
    def timed(self) -> Generator[None]:
        """Measure the whole."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    @contextmanager
    def one(self, about: object, *, limit: float) -> Generator[None]:
        """Count and measure one mutation, which may take `limit` seconds."""
        self.count += 1
        start = time.perf_counter()
        yield
        took = time.perf_counter() - start
        self.slowest = max(self.slowest, took)
        if took > limit:
            self.find("took too long", f"{took:.1f} s: {about}")


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
