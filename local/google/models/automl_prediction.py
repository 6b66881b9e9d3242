"""AutoML Vision's prediction service: `google.cloud.automl.v1.PredictionService.Predict` over gRPC.

The service was shut down in Google's cloud; what it answered is in
https://cloud.google.com/automl/docs/reference/rpc/google.cloud.automl.v1. BatchPredict is not here.
"""

from typing import Final

import grpc
from google.cloud.automl_v1 import types

from local.google.gate import Call, Gate
from local.google.models.features import UnreadablePictureError
from local.google.models.registry import ModelRegistry
from local.google.rpc import RefusedError, unary_method

PREDICT: Final = "automl.models.predict"
DEFAULT_SCORE_THRESHOLD = 0.5
MAX_IMAGE_BYTES = 30_000_000


def prediction_service(registry: ModelRegistry, *, gate: Gate, identity: str | None) -> grpc.GenericRpcHandler:
    """The handler that answers Predict; whatever asks through it counts as `identity`."""

    def predict(request: types.PredictRequest) -> types.PredictResponse:
        call = Call(identity=identity, method=PREDICT, resource=request.name)
        gate.enter(call)
        answer = _predict(registry, request)
        gate.leave(call)
        return answer

    return grpc.method_handlers_generic_handler(
        "google.cloud.automl.v1.PredictionService",
        {"Predict": unary_method(predict, types.PredictRequest, types.PredictResponse)},
    )


def _predict(registry: ModelRegistry, request: types.PredictRequest) -> types.PredictResponse:
    threshold = _score_threshold(dict(request.params))
    picture = request.payload.image.image_bytes
    if not picture:
        raise RefusedError(
            "INVALID_ARGUMENT",
            "List of found errors:\t1.Field: payload.image.image_bytes; Message: Required field not set.\t",
        )
    if len(picture) > MAX_IMAGE_BYTES:
        raise RefusedError(
            "INVALID_ARGUMENT",
            f"The image has {len(picture)} bytes; allowed are up to {MAX_IMAGE_BYTES}.",
        )
    found = registry.find(request.name)
    if found is None:
        raise RefusedError("NOT_FOUND", f"The model {request.name} does not exist.")
    if not found.deployed:
        raise RefusedError("FAILED_PRECONDITION", f"The model {request.name} is not deployed.")
    try:
        scores = found.model.scores(picture)
    except UnreadablePictureError as error:
        raise RefusedError(
            "INVALID_ARGUMENT", f"The image could not be decoded; send a JPEG, PNG or GIF ({error})."
        ) from error
    return types.PredictResponse(
        payload=[
            types.AnnotationPayload(display_name=label, classification=types.ClassificationAnnotation(score=score))
            for label, score in scores.items()
            if score >= threshold
        ]
    )


def _score_threshold(params: dict[str, str]) -> float:
    text = params.get("score_threshold", str(DEFAULT_SCORE_THRESHOLD))
    try:
        threshold = float(text)
    except ValueError:
        threshold = -1
    if not 0 <= threshold <= 1:
        raise RefusedError("INVALID_ARGUMENT", f"score_threshold is {text!r}; allowed is a number from 0.0 to 1.0.")
    return threshold
