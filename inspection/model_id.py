"""Which model answers: `modelId` of the stack config, and what its shape says."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Backend(StrEnum):
    """The service that answers for a model."""

    AUTOML = "automl"
    VERTEX = "vertex"
    OWN = "own"
    """No service: a model file, which runs in the function."""


@dataclass(frozen=True, kw_only=True)
class ModelId:
    """A model's whole resource name, and the parts of it that a client or a binding needs."""

    backend: Backend
    name: str
    project: str
    """Empty for a model file: its bucket may lie in any project."""
    location: str
    resource: str
    """The last part of the name: the AutoML model's or the endpoint's own id, the model file's name in its bucket."""
    bucket: str = ""
    """That a model file lies in."""


MODEL_ID_RULE = (
    "an AutoML Vision model (ICN1234567890 or projects/P/locations/us-central1/models/ICN1234567890), a model file of "
    "your own (gs://BUCKET/models/castings-3.onnx) or a Vertex AI endpoint "
    "(projects/P/locations/us-central1/endpoints/1234567890)"
)

_PROJECT = r"(?P<project>[a-z][a-z0-9.:-]*[a-z0-9]|\d+)"
_LOCATION = r"(?P<location>[a-z]+(?:-[a-z]+\d+)?)"
_SHAPES = {
    Backend.AUTOML: re.compile(rf"(?:projects/{_PROJECT}/locations/{_LOCATION}/models/)?(?P<resource>ICN\d+)"),
    Backend.VERTEX: re.compile(rf"projects/{_PROJECT}/locations/{_LOCATION}/endpoints/(?P<resource>[a-z0-9-]+)"),
}
_MODEL_FILE = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/(?P<name>(?:[\w. -]+/)*[\w. -]+\.onnx)")
_AUTOML_LOCATION = "us-central1"


def parse_model_id(text: str, *, project: str) -> ModelId:
    """Read a model's id; `project` completes a bare `ICN...`.

    Raises:
        ValueError: the text has no known shape; the message says which there are.
    """
    if file := _MODEL_FILE.fullmatch(text):
        return ModelId(
            backend=Backend.OWN, name=text, project="", location="", resource=file["name"], bucket=file["bucket"]
        )
    for backend, shape in _SHAPES.items():
        if match := shape.fullmatch(text):
            project = match["project"] or project
            location = match["location"] or _AUTOML_LOCATION
            collection = "models" if backend is Backend.AUTOML else "endpoints"
            resource = match["resource"]
            return ModelId(
                backend=backend,
                name=f"projects/{project}/locations/{location}/{collection}/{resource}",
                project=project,
                location=location,
                resource=resource,
            )
    message = f"{text!r} is no model: give {MODEL_ID_RULE}"
    raise ValueError(message)
