"""The functions as Cloud Run would start them, with a Cloud Storage, a Pub/Sub and models that can be told to fail."""

import base64
import io
import json
import socket
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import functions_framework
import grpc
import pytest
from flask import Flask
from google.cloud import storage
from google.pubsub_v1 import SubscriberClient
from PIL import Image

from local.google.gate import ApiError, Call, RequestLog

ROOT = Path(__file__).parents[2]
FUNCTION = "function@factory.iam.gserviceaccount.com"
AUTOML_MODEL = "projects/factory/locations/us-central1/models/ICN42"
VERTEX_MODEL = "projects/factory/locations/europe-west4/endpoints/42"

Push = dict[str, Any]


def picture(colour: tuple[int, int, int] = (120, 130, 140)) -> bytes:
    """A small JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def push(data: bytes, attributes: dict[str, str] | None = None, *, attempt: int = 1) -> Push:
    """A push request's body as Pub/Sub sends it (https://cloud.google.com/pubsub/docs/push#receive_push)."""
    published = {"messageId": "7", "message_id": "7", "publishTime": "2026-11-21T08:30:00Z"}
    message = {"data": base64.b64encode(data).decode(), "attributes": attributes or {}, **published}
    return {"message": message, "subscription": "projects/factory/subscriptions/s", "deliveryAttempt": attempt}


class Gate(RequestLog):
    """Refuses or delays what a test names: `before` or `after` the call takes effect."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Let everything pass, and forget what has."""
        self.clear()
        self.before: dict[str, Callable[[Call], object]] = {}
        self.after: dict[str, Callable[[Call], object]] = {}

    def enter(self, call: Call) -> None:
        super().enter(call)
        self.before.get(call.method, lambda _: None)(call)

    def leave(self, call: Call) -> None:
        self.after.get(call.method, lambda _: None)(call)

    def methods(self) -> list[str]:
        """What the functions asked for."""
        return [call.method.removeprefix("storage.") for call in self.calls if call.identity == FUNCTION]


def refuse(status: int, reason: str = "backendError") -> Callable[[Call], None]:
    """A step at the gate that answers with an error."""

    def step(call: Call) -> None:
        raise ApiError(status, reason, f"{call.method} refused with {status}")

    return step


@dataclass
class Slowness:
    """How much Cloud Storage does in one call."""

    rewrite_calls: int = 1
    """So many for a copy."""
    names_for_a_page: int | None = None
    """So many are looked at for each page of a listing; all, if it is None."""


@dataclass(frozen=True)
class Cloud:
    """A Cloud Storage with an inbound and a prediction bucket."""

    url: str
    gate: Gate
    slowness: Slowness
    inbound: storage.Bucket
    prediction: storage.Bucket
    announced: list[Push]

    def upload(
        self, name: str, data: bytes, *, content_type: str = "image/jpeg", metadata: dict[str, str] | None = None
    ) -> Push:
        """What a camera does; the push that announces it."""
        blob = self.inbound.blob(name)
        blob.metadata = metadata
        blob.upload_from_string(data, content_type=content_type)
        return self.announced[-1]

    def moved(self) -> dict[str, bytes]:
        """Every object of the prediction bucket."""
        return {blob.name: blob.download_as_bytes() for blob in self.prediction.list_blobs()}

    def waiting(self) -> list[str]:
        """The names in the inbound bucket."""
        return [blob.name for blob in self.inbound.list_blobs()]

    def metadata(self, name: str) -> dict[str, str]:
        """The custom metadata of an object of the prediction bucket."""
        blob = self.prediction.get_blob(name)
        assert blob is not None
        return blob.metadata or {}


class Model:
    """What the model services answer; every picture they were asked about."""

    grpc_address: str
    http_url: str

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Answer every question at once, and well."""
        self.scores = {"ok": 0.95, "defect": 0.05}
        self.grpc_error: tuple[grpc.StatusCode, str] | None = None
        self.http_answer: tuple[int, Any] | None = None
        self.wait: Callable[[], object] = lambda: None
        self.asked: list[bytes] = []
        self.params: list[dict[str, Any]] = []

    def fail(self, status: grpc.StatusCode, http: int, text: str) -> None:
        """Answer with an error, in the terms of both services."""
        self.grpc_error = (status, text)
        self.http_answer = (http, {"error": {"code": http, "message": text, "status": status.name}})

    def hear(self, jpeg: bytes, params: dict[str, Any]) -> None:
        """A question has come."""
        self.asked.append(jpeg)
        self.params.append(params)
        self.wait()


@dataclass(frozen=True)
class Topic:
    """A topic of the local cloud's Pub/Sub, and what has been published to it."""

    name: str
    subscription: str
    subscriber: SubscriberClient

    def messages(self) -> list[dict[str, Any]]:
        """The data of every message since the last call."""
        messages: list[dict[str, Any]] = []
        while True:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                response = self.subscriber.pull(
                    subscription=self.subscription, max_messages=100, return_immediately=True
                )
            if not response.received_messages:
                return messages
            self.subscriber.acknowledge(
                subscription=self.subscription, ack_ids=[received.ack_id for received in response.received_messages]
            )
            messages += [json.loads(received.message.data) for received in response.received_messages]


@dataclass(frozen=True)
class Answer:
    status: int
    text: str


@dataclass(frozen=True)
class Function:
    """A started function."""

    app: Flask
    environment: dict[str, str]

    def deliver(self, body: object, *, attempt: int | None = None) -> Answer:
        """Post what Pub/Sub pushes."""
        if attempt is not None:
            assert isinstance(body, dict)
            body = {**body, "deliveryAttempt": attempt}
        response = self.app.test_client().post("/", json=body)
        return Answer(response.status_code, response.text)


ANSWER_OF_2048 = b"HTTP/1.1 200 OK\r\nContent-Length: 2048\r\n"


@contextmanager
def answering(answer: bytes, *, stalls: bool) -> Generator[str]:
    """A server that answers so to everything, and then closes the connection, or does nothing more."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)
                        if stalls:
                            done.wait(30)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        done.set()
        listener.shutdown(socket.SHUT_RDWR)


def start(target: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Function:
    """Start a function as its server does, from its own `main.py`."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    # Each function sets this itself; what another one left in this process must not help it.
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", raising=False)
    for key in ("FUNCTION_TARGET", "FUNCTION_SIGNATURE_TYPE"):  # the framework sets them
        monkeypatch.setenv(key, "")
    app = functions_framework.create_app(target, str(ROOT / "functions" / target / "main.py"))
    assert isinstance(app, Flask)
    return Function(app, environment)


def start_predict(model_id: str, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> Function:
    """predict, asking this model and publishing to this topic."""
    return start("predict", {"MODEL_ID": model_id, "PREDICTIONS_TOPIC": topic.name}, monkeypatch)


MoveStarter = Callable[..., Function]
