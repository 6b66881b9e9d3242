"""A local Cloud Storage that the commands find by themselves, and the commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from automl.commands import dataset_app, model_app
from console.transfer import storage_client
from tests.automl.factory import Run, draw
from tests.automl.model_cloud import ModelCloud, running_models
from tests.support.storage import bucket_numbers, cloud, storage_server

__all__ = ["bucket_numbers", "cloud", "storage_server"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `inspection ...`; the result has `exit_code`, `stdout` and `stderr`."""
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(dataset_app, name="dataset")
    app.add_typer(model_app, name="model")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def casting_data(tmp_path: Path) -> Path:
    """Defective parts: two sets by folder, two labels by folder."""
    root = tmp_path / "casting_data"
    for used_for, number in (("train", 12), ("test", 3)):
        for folder in ("def_front", "ok_front"):
            for i in range(number):
                draw(root / used_for / folder / f"cast_{folder[:-6]}_0_{i}.png", f"{used_for}{folder}{i}")
    return root


@pytest.fixture(scope="session")
def model_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelCloud]:
    """One for all tests; each has buckets and names of its own."""
    with running_models(tmp_path_factory.mktemp("models")) as cloud:
        yield cloud


@pytest.fixture
def models(model_cloud: ModelCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelCloud]:
    """The commands' own clients go to the local services; states of trainings are written below a fresh folder."""
    for name, value in model_cloud.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    storage_client.cache_clear()
    model_cloud.gate.clear()
    yield model_cloud
    storage_client.cache_clear()
