"""Which models there are, by resource name."""

import threading
from dataclasses import dataclass, replace

from local.google.models.classifier import Model


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A model under the name that a client asks for."""

    name: str
    """`projects/P/locations/L/models/M` for AutoML Vision, `projects/P/locations/L/endpoints/E` for Vertex AI."""
    model: Model
    display_name: str
    deployed: bool = True


class ModelRegistry:
    """The models of the local cloud. Any thread may use it."""

    def __init__(self) -> None:
        """There are no models yet."""
        self._lock = threading.Lock()
        self._models: dict[str, RegisteredModel] = {}

    def register(self, model: RegisteredModel) -> None:
        """Add a model, or replace the one of this name."""
        with self._lock:
            self._models[model.name] = model

    def set_deployed(self, name: str, deployed: bool) -> None:
        """Deploy or undeploy.

        Raises:
            KeyError: there is no such model.
        """
        with self._lock:
            self._models[name] = replace(self._models[name], deployed=deployed)

    def remove(self, name: str) -> None:
        """Forget a model.

        Raises:
            KeyError: there is no such model.
        """
        with self._lock:
            del self._models[name]

    def find(self, name: str) -> RegisteredModel | None:
        """The model of this name, if there is one."""
        with self._lock:
            return self._models.get(name)

    @property
    def models(self) -> list[RegisteredModel]:
        """All models, by name."""
        with self._lock:
            return [self._models[name] for name in sorted(self._models)]
