"""Pub/Sub over gRPC, streaming pull included."""

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any, Final

import grpc
from google.pubsub_v1 import types as api

from local.google.gate import ApiError, Call, Gate, NoAnswerError
from local.google.pubsub.broker import wake
from local.google.pubsub.methods import METHODS, Caller, Method, acknowledge, modify, pullable, received, run
from local.google.pubsub.service import PubSub
from local.google.pubsub.store import Lease
from local.google.pubsub.supported import MOST_MESSAGES, invalid
from local.google.rpc import abort

_STREAM: Final = "google.pubsub.v1.Subscriber/StreamingPull"
_AT_ONCE: Final = 100
_LOOK_AGAIN_SECONDS: Final = 1.0


class PubSubHandler(grpc.GenericRpcHandler):
    """All methods of `pubsub` for one identity, each behind the gate."""

    def __init__(self, identity: str | None, pubsub: PubSub, gate: Gate) -> None:
        """None is the engineer at the machine."""
        self._identity = identity
        self._pubsub = pubsub
        self._gate = gate

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of a method; None for one of another service."""
        name = handler_call_details.method.removeprefix("/")
        if name == _STREAM:
            request: Any = api.StreamingPullRequest.pb(api.StreamingPullRequest()).__class__
            return grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=request.FromString, response_serializer=_serialized
            )
        if (method := METHODS.get(name)) is None:
            return None

        def answer(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - generated messages
            return self._answer(name, method, request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=method.request.FromString, response_serializer=_serialized
        )

    def _answer(self, name: str, method: Method, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        caller = Caller(identity=self._identity, waits=context.is_active, seconds_left=context.time_remaining)
        call = method.call(name, request, caller)
        try:
            self._gate.enter(call)
            answer = run(method, self._pubsub, request, caller)
            self._gate.leave(call)
        except (ApiError, NoAnswerError) as error:
            abort(context, error)
        return answer

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Generator[Any]:
        try:
            first = next(requests)
            call = Call(identity=self._identity, method="Subscriber/StreamingPull", resource=first.subscription)
            self._gate.enter(call)
            stream = _Stream(self._pubsub, first)
            reader = threading.Thread(target=stream.read, args=(requests,), name="streaming pull", daemon=True)
            reader.start()
            yield from stream.answers(context)
            self._gate.leave(call)
        except StopIteration:
            return
        except (ApiError, NoAnswerError) as error:
            abort(context, error)


class _Stream:
    """One streaming pull: what it holds is bounded by what its subscriber allows."""

    def __init__(self, pubsub: PubSub, first: Any) -> None:  # noqa: ANN401 - generated messages
        self._pubsub = pubsub
        self._name: str = first.subscription
        self._seconds: int = first.stream_ack_deadline_seconds
        self._most_messages: int = first.max_outstanding_messages if first.max_outstanding_messages > 0 else 2**31
        self._most_bytes: int = first.max_outstanding_bytes if first.max_outstanding_bytes > 0 else 2**62
        self._held: dict[Lease, int] = {}
        self._error: ApiError | None = None
        self._ended = False
        self._wake = pullable(pubsub.catalogue.subscription(self._name)).changed
        if not 10 <= self._seconds <= 600:  # noqa: PLR2004 - the API's bounds
            raise invalid(f"stream_ack_deadline_seconds is {self._seconds}. It must be from 10 to 600.")

    def read(self, requests: Iterator[Any]) -> None:
        """Do what the subscriber asks for on its side of the stream."""
        with suppress(grpc.RpcError):
            for request in requests:
                try:
                    self._do(request)
                except ApiError as error:
                    self._error = error
                    break
        self._ended = True
        with self._wake:
            self._wake.notify_all()

    def _do(self, request: Any) -> None:  # noqa: ANN401 - generated messages
        if request.stream_ack_deadline_seconds:
            self._seconds = request.stream_ack_deadline_seconds
        if request.ack_ids:
            acknowledge(self._pubsub, self._name, request.ack_ids)
        for one, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=False):
            modify(self._pubsub, self._name, [one], seconds)
        if request.ack_ids or request.modify_deadline_ack_ids:
            wake(self._pubsub.catalogue.subscription(self._name))

    def answers(self, context: grpc.ServicerContext) -> Generator[Any]:
        """What the subscriber receives until it hangs up."""
        broker = self._pubsub.broker
        looked = time.monotonic()
        while context.is_active() and not broker.closed:
            if self._error is not None:
                raise self._error
            known = pullable(self._pubsub.catalogue.subscription(self._name))
            if self._ended and not context.is_active():
                return
            if self._free() <= 0 or time.monotonic() - looked > _LOOK_AGAIN_SECONDS:
                still = set(broker.held(self._held))
                self._held = {lease: size for lease, size in self._held.items() if lease in still}
                looked = time.monotonic()
            free = self._free()
            deliveries = (
                broker.lease(known, min(free, _AT_ONCE, MOST_MESSAGES), seconds=self._seconds) if free > 0 else []
            )
            if deliveries:
                self._held |= {one.lease: len(one.message.data) for one in deliveries}
                self._pubsub.catalogue.use(known)
                message = api.StreamingPullResponse.pb(api.StreamingPullResponse())
                message.received_messages.extend(received(known, one) for one in deliveries)
                yield message
            elif free > 0:
                broker.wait(known, _LOOK_AGAIN_SECONDS)
            else:
                with known.changed:
                    known.changed.wait(_LOOK_AGAIN_SECONDS / 4)

    def _free(self) -> int:
        if sum(self._held.values()) >= self._most_bytes:
            return 0
        return self._most_messages - len(self._held)


def _serialized(message: Any) -> bytes:  # noqa: ANN401 - generated messages
    return message.SerializeToString()
