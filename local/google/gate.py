"""The gate that every call at the local cloud passes: where calls are counted, permitted or made to fail."""

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Protocol


class ApiError(Exception):
    """An answer that is an error, in the terms of Google's error bodies.

    https://cloud.google.com/storage/docs/json_api/v1/status-codes
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        """`status` is the HTTP status, `reason` Google's word for a program, `message` the text for a person."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class NoAnswerError(BaseException):
    """The asker's connection is to end without an answer; over gRPC the call ends as UNAVAILABLE, as the client says then.

    No `Exception`, so that nothing on the way makes an answer of it.
    """


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request at the local cloud, whichever protocol it came by."""

    identity: str | None
    """The service account that asks; None is the engineer at the machine."""
    method: str
    """Google's name, as in `storage.objects.rewrite`."""
    bucket: str | None = None
    object: str | None = None
    destination_bucket: str | None = None
    destination_object: str | None = None
    """Of a rewrite, copy or move, whose source `bucket` and `object` are."""
    only_if_absent: bool = False
    """Whether the call fails, by its own precondition, rather than overwrite an object."""
    resource: str | None = None
    """What the call is about where that is no bucket: a topic, a model, a service account."""


class Gate(Protocol):
    """Both methods run in a worker thread and may raise :class:`ApiError`, which becomes the answer.

    Or :class:`NoAnswerError`.
    """

    def enter(self, call: Call) -> None:
        """Before the call takes effect."""
        ...

    def leave(self, call: Call) -> None:
        """After the call took effect, before its answer is sent."""
        ...


class RequestLog:
    """The gate that lets everything pass and remembers it, from any thread."""

    def __init__(self) -> None:
        """Nothing has passed yet."""
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    def enter(self, call: Call) -> None:
        """Remember the call."""
        with self._lock:
            self._calls.append(call)

    def leave(self, call: Call) -> None:
        """Nothing more to remember."""

    @property
    def calls(self) -> list[Call]:
        """All calls so far, in the order in which they entered."""
        with self._lock:
            return list(self._calls)

    def counts(self) -> Counter[tuple[str | None, str]]:
        """How many calls there were by (identity, method)."""
        return Counter((call.identity, call.method) for call in self.calls)

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()
