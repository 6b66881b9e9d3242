"""One storage server for all tests of the review app, and an empty bucket for each."""

import os
from collections.abc import Generator
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest

from inspection.environment import STORAGE_EMULATOR
from local.google.storage.store import ObjectStore
from tests.support.gate import ScriptedGate
from tests.webapp.review_line import IapKey, Line, new_line, storage_server

_numbers = count(1)


@pytest.fixture(scope="session")
def gate() -> ScriptedGate:
    return ScriptedGate(once=True)


@pytest.fixture(scope="session")
def iap() -> IapKey:
    return IapKey()


@pytest.fixture(scope="session")
def storage_address(tmp_path_factory: pytest.TempPathFactory, gate: ScriptedGate) -> Generator[str]:
    with ObjectStore(tmp_path_factory.mktemp("storage")) as store, storage_server(store, gate) as address:
        yield address


@pytest.fixture
def line(storage_address: str, gate: ScriptedGate, iap: IapKey, tmp_path: Path) -> Generator[Line]:
    gate.reset()
    with patch.dict(os.environ, {STORAGE_EMULATOR: storage_address}):
        page = tmp_path / "dist"
        (page / "assets").mkdir(parents=True)
        (page / "index.html").write_text("<!doctype html><title>Review</title>")
        (page / "assets" / "index-abc123.js").write_text("1")
        (tmp_path / "secret.txt").write_text("not part of the page")
        line = new_line(storage_address, gate, iap, f"prediction-{next(_numbers)}", page)
        with line.client:
            yield line
