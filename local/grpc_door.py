"""The port at which one identity reaches the services that speak gRPC.

Pub/Sub's emulator does not ask who calls, and a gRPC address has no path to say it in: so each identity has a port of
its own, and every call there passes the gate.
"""

from collections.abc import Callable
from typing import Any, Final, NoReturn

import grpc
from google.pubsub_v1.types import PublishRequest

from local.gate import ApiError, Call, Gate

_PUBSUB: Final = "/google.pubsub.v1."
_PUBLISH: Final = "/google.pubsub.v1.Publisher/Publish"

_STATUS = {
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


def abort(context: grpc.ServicerContext, error: ApiError) -> NoReturn:
    """Answer with the gRPC status that Google gives for an HTTP status (google.rpc.Code)."""
    context.abort(_STATUS.get(error.status, grpc.StatusCode.UNKNOWN), error.message)
    raise AssertionError  # abort raises; its annotation does not say so


class PubSubProxy(grpc.GenericRpcHandler):
    """Hands a publisher's calls on to the emulator, byte for byte."""

    def __init__(self, identity: str, emulator: grpc.Channel, gate: Gate) -> None:
        """Calls of `identity` go through `gate` to the `emulator`."""
        self._identity = identity
        self._emulator = emulator
        self._gate = gate

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Every method of the Publisher; subscriptions here are pushed, nobody pulls through a door."""
        method = handler_call_details.method
        if not method.startswith(_PUBSUB):
            return None
        forward: Callable[..., bytes] = self._emulator.unary_unary(method)

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            call = self._call(method, request)
            try:
                self._gate.enter(call)
                reply = forward(request, timeout=context.time_remaining())
                self._gate.leave(call)
            except ApiError as error:
                abort(context, error)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details() or "")  # pyright: ignore[reportAttributeAccessIssue]
                raise
            return reply

        return grpc.unary_unary_rpc_method_handler(answer)

    def _call(self, method: str, request: bytes) -> Call:
        if method == _PUBLISH:
            topic = PublishRequest.deserialize(request).topic
            return Call(identity=self._identity, method="pubsub.topics.publish", resource=topic)
        return Call(identity=self._identity, method=method.removeprefix(_PUBSUB))
