"""Google's own Pub/Sub emulator, started and stopped."""

import os
import shutil
from pathlib import Path

from local.processes import CannotStartError, Guarded, free_port, wait_for_port

HOW_TO_INSTALL = (
    "Google's Pub/Sub emulator is needed. Install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install), a Java "
    "runtime of version 11 or later, and then: gcloud components install beta pubsub-emulator (or, from Google's Debian "
    "packages: apt-get install google-cloud-cli-pubsub-emulator)"
)


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
