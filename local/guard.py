"""Start a command that ends with whoever started it, however that one ends.

The command runs under a small guard that waits for its own standard input to close: the operating system closes it
when the starter exits, crashes or is killed. Then the whole process group goes. (`gcloud` leaves its Java child alive
on the port when only it is ended.)
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

SECONDS_TO_END = 5


class Guarded:
    """A running command and its log file."""

    def __init__(self, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path | None = None) -> None:
        """Start the command; standard output and error go to `log`."""
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(__file__).resolve()), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,  # Ctrl-C in the terminal reaches the starter alone, which then ends us in order
            )

    @property
    def running(self) -> bool:
        """Whether the command has not ended yet."""
        return self._process.poll() is None

    def log_tail(self, lines: int = 15) -> str:
        """The end of what the command wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the command and all that it started; returns when they are gone."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def _guard(command: Sequence[str]) -> NoReturn:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end(*_: int | FrameType | None) -> None:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS_TO_END)
        os._exit(0)

    def wait_for_starter() -> None:
        sys.stdin.buffer.read()
        end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=wait_for_starter, daemon=True).start()
    code = child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    _guard(sys.argv[1:])
