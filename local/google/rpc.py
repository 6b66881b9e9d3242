"""What the services beyond Cloud Storage have in common: Google's status words, and gRPC on this machine.

A gRPC address has no path to say who asks, so each identity is given a port, and handlers, of its own.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn, Self

import grpc
import proto

from local.google.gate import ApiError, NoAnswerError

_HOST = "127.0.0.1"
_THREADS = 16
_MAX_MESSAGE_BYTES = 50 * 2**20
"""Beyond the largest picture: one a little too large gets the service's answer and not gRPC's."""

_HTTP_STATUS: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto; for a status, its first word counts."""


class RefusedError(ApiError):
    """An answer that is an error, by its word of google.rpc.Code."""

    def __init__(self, word: str, message: str) -> None:
        """`word` is one of google.rpc.Code's names, `message` the text for a person."""
        super().__init__(_HTTP_STATUS[word], word, message)


def status_word(error: ApiError) -> str:
    """The name in google.rpc.Code of an error, wherever it comes from."""
    if isinstance(error, RefusedError):
        return error.reason
    return next((word for word, status in _HTTP_STATUS.items() if status == error.status), "UNKNOWN")


def abort(context: grpc.ServicerContext, error: ApiError | NoAnswerError) -> NoReturn:
    """Make the error the answer to a gRPC call."""
    if isinstance(error, NoAnswerError):
        # What a client makes of a connection that ends, whose other calls are to go on here.
        error = RefusedError("UNAVAILABLE", "Socket closed")
    context.abort(grpc.StatusCode[status_word(error)], error.message)
    raise AssertionError("abort raises")


def unary_method(
    answer: Callable[[Any], Any], request: type[proto.Message], response: type[proto.Message]
) -> "grpc.RpcMethodHandler[Any, Any]":
    """A method over proto-plus messages whose :class:`ApiError` becomes the gRPC status."""

    def handle(message: object, context: grpc.ServicerContext) -> object:
        try:
            return answer(message)
        except (ApiError, NoAnswerError) as error:
            abort(context, error)

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
