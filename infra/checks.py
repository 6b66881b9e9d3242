"""How the checks of the stack config refuse a value."""

from collections.abc import Iterable
from typing import TypeVar

from pydantic_core import PydanticCustomError

RULE = "rule"
"""The type of an error that says more than what is allowed."""

Value = TypeVar("Value")

_MAX_SHOWN = 200


def require(value: Value, *, ok: bool) -> Value:
    """Return the value, or refuse it without a reason beyond what is allowed."""
    if not ok:
        raise PydanticCustomError("allowed", "not allowed")
    return value


def broken(reason: str) -> PydanticCustomError:
    """A rule of ours, with what the user should hear besides what is allowed."""
    return PydanticCustomError(RULE, "{reason}", {"reason": reason})


def unless(reasons: list[str], value: Value) -> Value:
    """Return the value, or refuse it for all the reasons."""
    if reasons:
        raise broken(", and ".join(reasons))
    return value


def twice(texts: Iterable[str]) -> list[str]:
    """Return the texts that another one equals but for upper and lower case."""
    seen: set[str] = set()
    return [text for text in texts if text.lower() in seen or seen.add(text.lower())]


def quoted(texts: Iterable[str]) -> str:
    """Return the texts in quotes, separated by commas."""
    return shorten(", ".join(repr(text) for text in texts))


def shorten(text: str) -> str:
    """Return a text that fits into an error."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text)} characters)"
