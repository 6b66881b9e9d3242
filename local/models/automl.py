"""AutoML Vision's prediction service: `google.cloud.automl.v1.PredictionService.Predict` over gRPC.

The service was shut down in Google's cloud; what it answered is in
https://cloud.google.com/automl/docs/reference/rpc/google.cloud.automl.v1. BatchPredict is not here.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn, Self

import grpc
import proto
from google.cloud.automl_v1 import types

from local.gate import ApiError, Call, Gate
from local.models.features import UnreadablePictureError
from local.models.registry import ModelRegistry

PREDICT: Final = "automl.models.predict"
DEFAULT_SCORE_THRESHOLD = 0.5
MAX_IMAGE_BYTES = 30_000_000

_HOST = "127.0.0.1"
_THREADS = 16
_MAX_MESSAGE_BYTES = 50 * 2**20
"""Beyond the largest picture: one a little too large gets Google's answer and not gRPC's."""
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"""


class RefusedError(Exception):
    """An answer that is a gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        """`message` is the text for a person."""
        super().__init__(message)
        self.code = code
        self.message = message


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


def unary_method(
    answer: Callable[[Any], Any], request: type[proto.Message], response: type[proto.Message]
) -> "grpc.RpcMethodHandler[Any, Any]":
    """A method over proto-plus messages whose :class:`RefusedError` and :class:`ApiError` become the gRPC status."""

    def handle(message: object, context: grpc.ServicerContext) -> object:
        try:
            return answer(message)
        except RefusedError as refused:
            _abort(context, refused.code, refused.message)
        except ApiError as error:
            _abort(context, _CODES.get(error.status, grpc.StatusCode.UNKNOWN), error.message)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request.deserialize, response_serializer=response.serialize
    )


class RunningGrpcServer:
    """A gRPC server at :attr:`address` until :meth:`stop`; also a context manager that stops it."""

    def __init__(self, handlers: Sequence[grpc.GenericRpcHandler], port: int = 0) -> None:
        """Start at once, on this machine only; port 0 takes any free one.

        Raises:
            RuntimeError: the port is taken; the message names it.
        """
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc"),
            handlers=list(handlers),
            # Without the second option two servers could share a port, each getting half of the calls.
            options=[("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)],
        )
        try:
            bound = self._server.add_insecure_port(f"{_HOST}:{port}")
        except RuntimeError as error:
            raise RuntimeError(f"port {port} of {_HOST} cannot be used: {error}") from error
        self.address = f"{_HOST}:{bound}"
        self._server.start()

    def stop(self) -> None:
        """Finish the calls that are being answered (for a few seconds at most), then stop listening."""
        self._server.stop(grace=5).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _predict(registry: ModelRegistry, request: types.PredictRequest) -> types.PredictResponse:
    threshold = _score_threshold(dict(request.params))
    picture = request.payload.image.image_bytes
    if not picture:
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "List of found errors:\t1.Field: payload.image.image_bytes; Message: Required field not set.\t",
        )
    if len(picture) > MAX_IMAGE_BYTES:
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"The image has {len(picture)} bytes; allowed are up to {MAX_IMAGE_BYTES}.",
        )
    found = registry.find(request.name)
    if found is None:
        raise RefusedError(grpc.StatusCode.NOT_FOUND, f"The model {request.name} does not exist.")
    if not found.deployed:
        raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, f"The model {request.name} is not deployed.")
    try:
        scores = found.model.scores(picture)
    except UnreadablePictureError as error:
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT, f"The image could not be decoded; send a JPEG, PNG or GIF ({error})."
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
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT, f"score_threshold is {text!r}; allowed is a number from 0.0 to 1.0."
        )
    return threshold


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, message)
    raise AssertionError("abort raises")
