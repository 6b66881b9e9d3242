"""Long-running operations of the local cloud."""

import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from local.google.gate import ApiError
from local.google.rpc import RefusedError


class JobCancelledError(Exception):
    """The job was told to stop."""


class Job:
    """A long-running operation. Any thread may read it."""

    def __init__(self, *, name: str, kind: str, subject: str, details: Mapping[str, Any]) -> None:
        """`kind` says what it does, `subject` is the resource that it works on, `details` what it was asked."""
        self.name = name
        self.kind = kind
        self.subject = subject
        self.details = details
        self.created = self.updated = datetime.now(UTC)
        self.percent = 0
        self.failures: tuple[str, ...] = ()
        """Of single lines, while the whole goes on."""
        self.result: Any = None
        self.error: ApiError | None = None
        self.finished = threading.Event()
        self.cancelled = threading.Event()

    def progress(self, done: int, count: int) -> None:
        """So much is done.

        Raises:
            JobCancelledError: stop here.
        """
        if self.cancelled.is_set():
            raise JobCancelledError
        self.percent = min(99, 100 * done // max(count, 1))
        self.updated = datetime.now(UTC)

    def run(self, work: Callable[["Job"], Any]) -> None:
        """Do the work; whatever happens, the job is finished afterwards."""
        try:
            self.result = work(self)
            self.percent = 100
        except ApiError as error:
            self.error = error
        except JobCancelledError:
            self.error = ApiError(499, "CANCELLED", "Operation was cancelled.")
        except Exception as error:  # noqa: BLE001  # the answer of an operation that nobody waits for in this thread
            self.error = RefusedError("INTERNAL", f"{type(error).__name__}: {error}")
        finally:
            self.updated = datetime.now(UTC)
            self.finished.set()


def new_id() -> str:
    """A number as long as Google's, that nothing else has."""
    return str(10**18 + uuid.uuid4().int % (9 * 10**18))
