"""Fixtures for all tests, and the tier that each test belongs to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.google.gate import RequestLog
from local.google.pubsub.rpc import PubSubHandler
from local.google.pubsub.service import PubSub
from local.google.rpc import RunningGrpcServer

TIERS = {
    "unit": "no process of its own but Python: seconds, part of `make check`",
    "local": "starts processes or services of the local cloud; some need npm",
    "browser": "the review page in a real browser; needs Chromium and npm",
    "engine": "Pulumi's real engine; needs `pulumi` and its plugin gcp",
}
"""Name of the marker -> what its tests need."""

_TIER_OF_FOLDER = {
    ".": "unit",
    "automl": "local",
    "browser": "browser",
    "cli": "unit",
    "cli/processes": "local",
    "docs": "unit",
    "end_to_end": "local",
    "functions": "local",
    "imaging": "unit",
    "imaging/processes": "local",
    "infra": "unit",
    "infra/engine": "engine",
    "infra/page": "local",
    "inspection": "unit",
    "local": "local",
    "proof": "local",
    "webapp": "local",
}


def tier_of(file: Path) -> str:
    """The tier of a test file, whose path is relative to `tests/`: that of the nearest folder that has one.

    Raises:
        pytest.UsageError: no folder above the file has a tier.
    """
    for folder in file.parents:
        # A new folder beside these must choose; only files that lie in `tests/` itself have the tier of ".".
        if (tier := _TIER_OF_FOLDER.get(folder.as_posix())) and (folder != Path() or file.parent == folder):
            return tier
    raise pytest.UsageError(f"tests/{file} has no tier: add its folder to _TIER_OF_FOLDER in tests/conftest.py")


def pytest_configure(config: pytest.Config) -> None:
    for name, needs in TIERS.items():
        config.addinivalue_line("markers", f"{name}: {needs}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # Modules of other tiers are not even imported, which takes longer than many a test.
    wanted = config.getoption("markexpr")
    if wanted not in TIERS or not collection_path.match("test_*.py"):
        return None
    return tier_of(collection_path.relative_to(Path(__file__).parent)) != wanted or None


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(tier_of(item.path.relative_to(Path(__file__).parent)))


@pytest.fixture(scope="session")
def pubsub_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of the local cloud's Pub/Sub, for whoever may do everything."""
    with (
        PubSub(tmp_path_factory.mktemp("pubsub")) as pubsub,
        RunningGrpcServer([PubSubHandler(None, pubsub, RequestLog())]) as server,
    ):
        yield server.address
