"""Commands that end with whoever started them, however that one ends.

A command runs under a small guard that waits for its own standard input to close: the operating system closes it
when the starter exits, crashes or is killed. Then the whole process group goes. (`gcloud` leaves its Java child alive
on the port when only it is ended.)
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

SECONDS_TO_START = 60
SECONDS_TO_END = 5


class CannotStartError(Exception):
    """Something that the local cloud needs is missing or did not start; the text says what to do."""


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

    def kill(self) -> None:
        """End the command at once, in the middle of whatever it does; returns when it is gone."""
        self._process.send_signal(signal.SIGUSR1)
        self.stop()

    def stop(self) -> None:
        """End the command and all that it started; returns when they are gone."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: Guarded, *, name: str, seconds: float = SECONDS_TO_START) -> None:
    """Return when `process` accepts connections on `port`.

    Raises:
        CannotStartError: it ended or did not listen in time; the text has the end of its log.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.running:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    state = f"did not listen within {seconds:.0f} s" if process.running else "ended at its start"
    message = f"{name} {state}. The end of {process.log}:\n{process.log_tail()}"
    raise CannotStartError(message)


def _guard(command: Sequence[str]) -> NoReturn:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end(*_: int | FrameType | None) -> None:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS_TO_END)
        os._exit(0)

    def kill(*_: int | FrameType | None) -> None:
        os.killpg(child.pid, signal.SIGKILL)

    def wait_for_starter() -> None:
        sys.stdin.buffer.read()
        end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR1, kill)
    threading.Thread(target=wait_for_starter, daemon=True).start()
    code = child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    _guard(sys.argv[1:])
