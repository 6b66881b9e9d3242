"""Finds the model that a command names, and the service that has it."""

import re

import typer

from automl.commands.model.terminal import fail
from automl.services import training_run as training
from automl.services.choice import service_for
from automl.services.service import (
    Model,
    NotThereError,
    Service,
)
from automl.stack.where import project as project_or_local
from inspection.model_id import Backend


def find_model(model: str, backend: Backend | None, project: str | None, location: str | None) -> tuple[Service, Model]:
    """The model, and the service that has it."""
    where = project_or_local(project)
    of_name = _backend_of(model)
    if backend and of_name and backend != of_name:
        raise typer.BadParameter(f"{model} is a model of {of_name}", param_hint="--backend")
    before = None if of_name else training.load(model, where)
    backend = backend or of_name or (before.backend if before else None)
    if backend is None:
        raise NotThereError(
            f"no model {model!r} in {where} was trained from this folder: give its whole resource name, or --backend"
        )
    if before and before.backend == backend:
        location = location or before.location
    if named := re.match(r"projects/[^/]+/locations/([^/]+)/", model):
        location = named[1]
    service = service_for(backend, project=where, location=location)
    trained = before.steps[training.TRAINING].result if before and before.backend == backend else ""
    return service, service.find_model(trained or model)


def _backend_of(model: str) -> Backend | None:
    """What the shape of a resource name says; None: it is a display name."""
    if re.fullmatch(r"(projects/[^/]+/locations/[^/]+/models/)?ICN\d+", model):
        return Backend.AUTOML
    return Backend.VERTEX if model.startswith("projects/") else None


def check_deployed(text: str, model: Model) -> None:
    """End the command with an error unless the model is deployed; `text` is the name that the user gave."""
    if not model.model_id:
        fail(f"{model.name} is not deployed, so it does not answer: `inspection model deploy {text}` first")
