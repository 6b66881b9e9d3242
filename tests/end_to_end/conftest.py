from collections.abc import Generator
from pathlib import Path

import pytest

from local.cloud import LocalCloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Generator[LocalCloud]:
    """The whole line, running; every test sends pictures of its own names."""
    home: Path = tmp_path_factory.mktemp("line") / ".local" / "cloud"
    with LocalCloud(home) as running:
        running.start(print)
        yield running
