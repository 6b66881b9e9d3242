"""Online prediction of Vertex AI for image classification, over REST.

https://cloud.google.com/vertex-ai/docs/image-data/classification/get-predictions
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.google.gate import ApiError, Call, Gate
from local.google.identity import identity_of
from local.google.models.features import UnreadablePictureError
from local.google.models.registry import ModelRegistry, RegisteredModel
from local.google.rpc import RefusedError, status_word

PREDICT: Final = "aiplatform.endpoints.predict"
MAX_REQUEST_BYTES = 1_500_000
"""Google says 1.5 MB, which is read strictly here."""
DEFAULT_CONFIDENCE_THRESHOLD = 0.0
DEFAULT_MAX_PREDICTIONS = 10


def prediction_routes(registry: ModelRegistry, *, gate: Gate) -> list[Route]:
    """The route of `:predict`, for an application behind :class:`local.google.identity.IdentityMiddleware`."""

    async def predict(request: Request) -> Response:
        name = "projects/{project}/locations/{location}/endpoints/{endpoint}".format(**request.path_params)
        body = await request.body()
        call = Call(identity=identity_of(request.scope), method=PREDICT, resource=name)
        try:
            return JSONResponse(await run_in_threadpool(_passed, registry, gate, call, body))
        except ApiError as error:
            word = status_word(error)
            answer = {"error": {"code": error.status, "message": error.message, "status": word}}
            return JSONResponse(answer, status_code=error.status)

    path = "/v1/projects/{project}/locations/{location}/endpoints/{endpoint}:predict"
    return [Route(path, predict, methods=["POST"])]


def _passed(registry: ModelRegistry, gate: Gate, call: Call, body: bytes) -> dict[str, Any]:
    gate.enter(call)
    answer = _predict(registry, str(call.resource), body)
    gate.leave(call)
    return answer


def _predict(registry: ModelRegistry, name: str, body: bytes) -> dict[str, Any]:
    if len(body) > MAX_REQUEST_BYTES:
        raise RefusedError("INVALID_ARGUMENT", f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")
    request = _object(body)
    instances = request.get("instances")
    if not isinstance(instances, list) or not instances:
        raise RefusedError("INVALID_ARGUMENT", '"instances" must be a list of at least one instance.')
    given = request.get("parameters")
    parameters = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
    threshold = _number(parameters, "confidenceThreshold", DEFAULT_CONFIDENCE_THRESHOLD, 0, 1)
    most = round(_number(parameters, "maxPredictions", DEFAULT_MAX_PREDICTIONS, 1, 1_000_000))
    found = registry.find(name)
    if found is None:
        raise RefusedError("NOT_FOUND", f"Endpoint {name} does not exist.")
    if not found.deployed:
        raise RefusedError("FAILED_PRECONDITION", f"Endpoint {name} has no deployed model.")
    parent = name.rpartition("/endpoints/")[0]
    model_id = _id(name)
    return {
        "predictions": [
            _prediction(found, instance, place, threshold, most)
            for place, instance in enumerate(cast("list[object]", instances))
        ],
        "deployedModelId": _id(name, "deployed"),
        "model": f"{parent}/models/{model_id}",
        "modelDisplayName": found.display_name,
        "modelVersionId": "1",
    }


def _prediction(found: RegisteredModel, instance: object, place: int, threshold: float, most: int) -> dict[str, Any]:
    content = cast("Mapping[str, Any]", instance).get("content") if isinstance(instance, dict) else None
    if not isinstance(content, str) or not content:
        raise RefusedError(
            "INVALID_ARGUMENT", f"instances[{place}].content is missing; it must be a picture in base64."
        )
    try:
        scores = found.model.scores(base64.b64decode(content, validate=True))
    except (binascii.Error, UnreadablePictureError) as error:
        raise RefusedError(
            "INVALID_ARGUMENT", f"instances[{place}].content is no picture in base64: {error}"
        ) from error
    kept = [(label, score) for label, score in scores.items() if score >= threshold][:most]
    return {
        "ids": [_id(found.name, label) for label, _ in kept],
        "displayNames": [label for label, _ in kept],
        "confidences": [score for _, score in kept],
    }


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise RefusedError("INVALID_ARGUMENT", "Invalid JSON payload received. It must be an object.")
    return cast("Mapping[str, Any]", value)


def _number(parameters: Mapping[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = parameters.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise RefusedError(
            "INVALID_ARGUMENT", f"parameters.{key} is {value!r}; allowed is a number from {least} to {most}."
        )
    return float(value)


def _id(*what: str) -> str:
    """A number as Google gives them out, the same for the same thing at every start."""
    return str(int.from_bytes(hashlib.sha256("\n".join(what).encode()).digest()[:7]))
