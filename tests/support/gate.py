"""The gate of the tests: remembers calls, and fails, delays or does what a test says on either side of a call's effect."""

from collections.abc import Callable

from local.google.gate import ApiError, Call, RequestLog

Step = Callable[[Call], object]
"""Runs in the server's thread; an :class:`ApiError` that it raises is the call's answer."""


class ScriptedGate(RequestLog):
    """Runs the step of a call's method before or after the call takes effect.

    Attributes:
        before: method -> step, such as `storage.objects.get`.
        after: the same, once the call took effect.
        left: the calls that took effect.
    """

    def __init__(self, *, once: bool = False) -> None:
        """With `once`, each step runs for the next call of its method alone; it may set the next one."""
        super().__init__()
        self._once = once
        self.before: dict[str, Step] = {}
        self.after: dict[str, Step] = {}
        self.left: list[Call] = []

    def reset(self) -> None:
        """Let everything pass, and forget what has."""
        self.before.clear()
        self.after.clear()
        self.clear()

    def clear(self) -> None:
        super().clear()
        self.left.clear()

    def enter(self, call: Call) -> None:
        super().enter(call)
        self._run(self.before, call)

    def leave(self, call: Call) -> None:
        self.left.append(call)
        self._run(self.after, call)

    def _run(self, steps: dict[str, Step], call: Call) -> None:
        step = steps.pop(call.method, None) if self._once else steps.get(call.method)
        if step:
            step(call)

    def count(self, method: str) -> int:
        """How many calls of this method have entered."""
        return sum(call.method == method for call in self.calls)


def refuse(status: int, reason: str = "backendError", message: str = "") -> Step:
    """A step that ends the call with this answer."""

    def step(call: Call) -> None:
        raise ApiError(status, reason, message or f"{call.method} refused on purpose with {status}")

    return step
