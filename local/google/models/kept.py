"""Models and deployments on disk, from one start of the local cloud to the next."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import joblib

from local.deploy.processes import CannotStartError
from local.google.models.training import Made


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A Vertex AI endpoint, and the model that it asks."""

    name: str
    display_name: str
    created: datetime
    model: str | None = None
    deployed_id: str = ""


class ModelFolder:
    """Keeps models and deployments from one start of the local cloud to the next; without a folder, keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        """The folder is made when the first model is kept."""
        self._folder = folder

    def models(self) -> dict[str, Made]:
        """The kept models by name.

        Raises:
            CannotStartError: a file cannot be read.
        """
        models: dict[str, Made] = {}
        for file in self._folder.glob("*.joblib") if self._folder else ():
            try:
                made: Made = joblib.load(file)
            except Exception as error:
                # Written by another state of this code or of scikit-learn; what reading raises then is not limited.
                raise CannotStartError(
                    f"{file}, a model that was trained here, cannot be read ({type(error).__name__}: {error}): "
                    "delete it, and train again"
                ) from error
            models[made.name] = made
        return models

    def keep(self, made: Made) -> None:
        """Write a model."""
        if self._folder:

            def write(file: Path) -> None:
                joblib.dump(made, file, compress=3)

            _write(self._file(made.name, self._folder), write)

    def forget(self, name: str) -> None:
        """Delete a model's file."""
        if self._folder:
            self._file(name, self._folder).unlink(missing_ok=True)

    def deployments(self) -> tuple[list[Endpoint], list[str]] | None:
        """The kept endpoints, and the models of AutoML Vision that are deployed; None if none were kept yet."""
        file = self._folder / "deployments.json" if self._folder else None
        if not file or not file.exists():
            return None
        kept = json.loads(file.read_text())
        endpoints = [
            Endpoint(created=datetime.fromisoformat(fields.pop("created")), **fields) for fields in kept["endpoints"]
        ]
        return endpoints, kept["deployed"]

    def keep_deployments(self, endpoints: Iterable[Endpoint], deployed: Iterable[str]) -> None:
        """Write all endpoints, and the models of AutoML Vision that are deployed."""
        if not self._folder:
            return
        fields = [{**vars(endpoint), "created": endpoint.created.isoformat()} for endpoint in endpoints]
        text = json.dumps({"deployed": sorted(deployed), "endpoints": fields}, indent=1)
        _write(self._folder / "deployments.json", lambda file: file.write_bytes(text.encode()))

    @staticmethod
    def _file(name: str, folder: Path) -> Path:
        return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.joblib"


def _write(file: Path, write: Callable[[Path], object]) -> None:
    """In one step: whoever reads sees the old or the new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, suffix=".partial")
    os.close(descriptor)
    try:
        write(Path(temporary))
        Path(temporary).replace(file)
    finally:
        Path(temporary).unlink(missing_ok=True)
