"""Failures on purpose: which request fails, how, and whether it has taken effect by then.

A :class:`FaultyGate` stands in front of any other gate, and does to a call what clouds do to calls: an error of Google's,
no answer for so long that the asker gives up, a connection that ends, or an asker that dies right then. Before the
call takes effect nothing has happened; after it, everything has, and only the answer is lost.

At the address of a function (`local.google.front`, method :data:`local.google.permissions.INVOKE`) a call is a push. One that fails
before is delivered late, and after others that came after it; one that fails after is delivered twice.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Final, Protocol

from local.google.gate import ApiError, Call, Gate, NoAnswerError


class Kind(StrEnum):
    """What happens to the asker."""

    TOO_MANY = "429"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    TIME_OUT = "time-out"
    RESET = "reset"
    """The connection ends."""
    DEATH = "death"
    """The asking process is killed."""
    LATE = "late"
    """No answer until the asker has given up; the call takes effect when :meth:`FaultyGate.release` says so."""


class When(StrEnum):
    """On which side of the call's effect."""

    BEFORE = "before"
    AFTER = "after"


ERRORS: Final = {
    Kind.TOO_MANY: (429, "rateLimitExceeded"),
    Kind.INTERNAL: (500, "backendError"),
    Kind.UNAVAILABLE: (503, "backendError"),
}
"""https://cloud.google.com/storage/docs/json_api/v1/status-codes"""


class Plan(Protocol):
    """Which calls fail. Asked from many threads: once as a call comes, once more if it took effect."""

    def strikes(self, when: When, call: Call) -> Kind | None:
        """What to do to this call now."""
        ...


class NoFaults:
    """Everything works."""

    def strikes(self, when: When, call: Call) -> Kind | None:  # noqa: ARG002 - the protocol's
        """Nothing ever does."""
        return None


class Once:
    """One fault, at the n-th call of an identity; or the same at every such call from then on."""

    def __init__(
        self, kind: Kind, when: When, *, identity: str, number: int = 1, always_for: str | None = None
    ) -> None:
        """`number` counts from 1; `always_for` is the method of which, from the `number`-th call on, each fails."""
        self.kind = kind
        self._when = when
        self._identity = identity
        self._number = number
        self._always_for = always_for
        self._lock = threading.Lock()
        self._seen = 0
        self._chosen: Call | None = None
        self.struck = 0
        """How often it has struck."""

    def strikes(self, when: When, call: Call) -> Kind | None:
        """The kind, if it is this call's turn."""
        if call.identity != self._identity:
            return None
        with self._lock:
            if when is When.BEFORE:
                self._seen += 1
                if self._seen == self._number or (self._seen > self._number and call.method == self._always_for):
                    self._chosen = call
            if when is not self._when or call is not self._chosen:
                return None
            self.struck += 1
            return self.kind


class Randomly:
    """A share of all calls of some identities, by a seed. Counts what it does."""

    def __init__(self, share: float, kinds: Sequence[Kind], *, identities: Collection[str], seed: int) -> None:
        """Half of the faults strike before the effect, half after it; a kind that stands twice comes twice as often."""
        self._share = share / len(When)
        self._kinds = kinds
        self._identities = identities
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._lock = threading.Lock()
        self.struck: Counter[tuple[When, Kind]] = Counter()

    def strikes(self, when: When, call: Call) -> Kind | None:
        """The next one drawn."""
        if call.identity not in self._identities:
            return None
        with self._lock:
            if self._random.random() >= self._share:
                return None
            kind = self._random.choice(self._kinds)
            self.struck[when, kind] += 1
            return kind


class FaultyGate:
    """Does what its plan says; whatever passes, and whatever is made to fail, `inner` has seen."""

    def __init__(
        self,
        inner: Gate,
        plan: Plan | None = None,
        *,
        kill: Callable[[Call], None] | None = None,
        longest_wait: float = 60,
    ) -> None:
        """A gate with this :attr:`plan`.

        Args:
            inner: asked first.
            plan: no faults, if it is None.
            kill: ends the process that makes the call; needed for :attr:`Kind.DEATH`.
            longest_wait: seconds for which an answer is withheld unless it is released; longer than any asker waits.
        """
        self._inner = inner
        self.plan: Plan = plan or NoFaults()
        self.kill = kill
        self._longest_wait = longest_wait
        self._released = threading.Event()

    def enter(self, call: Call) -> None:
        """Let the inner gate decide, then fail if it is planned."""
        self._inner.enter(call)
        self._strike(When.BEFORE, call)

    def leave(self, call: Call) -> None:
        """Let the inner gate decide, then lose the answer if it is planned."""
        self._inner.leave(call)
        self._strike(When.AFTER, call)

    def release(self) -> None:
        """Withhold no answer any longer: their askers have given up."""
        released, self._released = self._released, threading.Event()
        released.set()

    def _strike(self, when: When, call: Call) -> None:
        kind = self.plan.strikes(when, call)
        match kind:
            case None:
                return
            case Kind.TOO_MANY | Kind.INTERNAL | Kind.UNAVAILABLE:
                status, reason = ERRORS[kind]
                raise ApiError(status, reason, f"{call.method} failed on purpose with {status} {when} it took effect")
            case Kind.LATE:
                self._released.wait(self._longest_wait)
                return
            case Kind.TIME_OUT:
                self._released.wait(self._longest_wait)
            case Kind.DEATH:
                if self.kill is None:
                    raise ValueError(f"{call.method} is to die, but nobody has said how: give FaultyGate a kill")
                self.kill(call)
            case Kind.RESET:
                pass
        raise NoAnswerError
