"""Google's own Pub/Sub emulator, started and stopped."""

import os
import shutil
import socket
import time
from pathlib import Path

from local.guard import Guarded

SECONDS_TO_START = 60

HOW_TO_INSTALL = (
    "Google's Pub/Sub emulator is needed. Install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install), a Java "
    "runtime of version 11 or later, and then: gcloud components install beta pubsub-emulator (or, from Google's Debian "
    "packages: apt-get install google-cloud-cli-pubsub-emulator)"
)


class CannotStartError(Exception):
    """Something that the local cloud needs is missing or did not start; the text says what to do."""


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


class PubSubEmulator:
    """A running emulator; `address` is what PUBSUB_EMULATOR_HOST takes."""

    def __init__(self, folder: Path) -> None:
        """Start the emulator with its data and log in `folder`; :meth:`wait` until it answers.

        Raises:
            CannotStartError: gcloud or Java is missing.
        """
        for command in ("gcloud", "java"):
            if shutil.which(command) is None:
                message = f"{command!r} is not on PATH. {HOW_TO_INSTALL}"
                raise CannotStartError(message)
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._process = Guarded(
            [
                "gcloud", "beta", "emulators", "pubsub", "start", "--quiet", "--project=local",
                f"--host-port={self.address}", f"--data-dir={data}",
            ],
            log=folder / "pubsub.log",
            env=os.environ | {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
        )  # fmt: skip

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            CannotStartError: it did not; an emulator that is not installed is the usual reason.
        """
        try:
            wait_for_port(self._port, self._process, name="The Pub/Sub emulator")
        except CannotStartError as error:
            message = f"{error}\n{HOW_TO_INSTALL}"
            raise CannotStartError(message) from error

    def stop(self) -> None:
        """End the emulator and its Java process."""
        self._process.stop()
