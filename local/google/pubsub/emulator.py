"""Google's own Pub/Sub emulator, and the way to it that knows who publishes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc
from google.pubsub_v1.types import PublishRequest

from local.deploy.processes import CannotStartError, Guarded, free_port, wait_for_port
from local.google.gate import ApiError, Call, Gate, NoAnswerError
from local.google.rpc import abort

_PUBSUB: Final = "/google.pubsub.v1."
_PUBLISH: Final = "/google.pubsub.v1.Publisher/Publish"

HOW_TO_INSTALL = (
    "Google's Pub/Sub emulator is needed. Install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install), a Java "
    "runtime of version 11 or later, and then: gcloud components install beta pubsub-emulator (or, from Google's Debian "
    "packages: apt-get install google-cloud-cli-pubsub-emulator)"
)


class PubSubEmulator:
    """A running emulator; `address` is what PUBSUB_EMULATOR_HOST takes."""

    def __init__(self, folder: Path) -> None:
        """Start the emulator with its data and log in `folder`; :meth:`wait` until it answers.

        Raises:
            CannotStartError: gcloud or Java is missing.
        """
        for command in ("gcloud", "java"):
            if shutil.which(command) is None:
                message = f"{command!r} is not on PATH. {HOW_TO_INSTALL}"
                raise CannotStartError(message)
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._process = Guarded(
            [
                "gcloud", "beta", "emulators", "pubsub", "start", "--quiet", "--project=local",
                f"--host-port={self.address}", f"--data-dir={data}",
            ],
            log=folder / "pubsub.log",
            env=os.environ | {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
        )  # fmt: skip

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            CannotStartError: it did not; an emulator that is not installed is the usual reason.
        """
        try:
            wait_for_port(self._port, self._process, name="The Pub/Sub emulator")
        except CannotStartError as error:
            message = f"{error}\n{HOW_TO_INSTALL}"
            raise CannotStartError(message) from error

    def stop(self) -> None:
        """End the emulator and its Java process."""
        self._process.stop()


class PubSubProxy(grpc.GenericRpcHandler):
    """Hands a publisher's calls on to the emulator, byte for byte. The emulator itself does not ask who calls."""

    def __init__(self, identity: str, emulator: grpc.Channel, gate: Gate) -> None:
        """Calls of `identity` go through `gate` to the `emulator`."""
        self._identity = identity
        self._emulator = emulator
        self._gate = gate

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Every unary method; subscriptions are pushed, no part pulls."""
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
            except (ApiError, NoAnswerError) as error:
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
