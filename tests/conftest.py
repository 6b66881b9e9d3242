import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.google.pubsub.emulator import PubSubEmulator


@pytest.fixture(scope="session")
def pubsub_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of Google's Pub/Sub emulator."""
    for command in ("gcloud", "java"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not on PATH; Google's Pub/Sub emulator needs it")
    emulator = PubSubEmulator(Path(tmp_path_factory.mktemp("pubsub")))
    try:
        emulator.wait()
        yield emulator.address
    finally:
        emulator.stop()
