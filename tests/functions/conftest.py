"""Fixtures of the functions' stage."""

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.automl_v1.types import AnnotationPayload, ClassificationAnnotation, PredictRequest, PredictResponse
from google.pubsub_v1 import PublisherClient, SubscriberClient
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inspection.logs import structured_logger
from local.google.http import serve
from local.google.identity import identity_path
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore
from tests.functions.stage import (
    AUTOML_MODEL,
    FUNCTION,
    VERTEX_MODEL,
    Cloud,
    Function,
    Gate,
    Model,
    MoveStarter,
    Push,
    Slowness,
    Topic,
    push,
    start,
    start_predict,
)


@pytest.fixture(scope="session")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    gate, announced, slowness = Gate(), list[Push](), Slowness()

    def publish(_topic: str, data: bytes, attributes: dict[str, str]) -> None:
        announced.append(push(data, attributes))

    with (
        ObjectStore(tmp_path_factory.mktemp("storage")) as store,
        serve(
            storage_app(
                store,
                gate=gate,
                publish=publish,
                rewrite_calls=lambda: slowness.rewrite_calls,
                names_for_a_page=lambda: slowness.names_for_a_page,
            )
        ) as server,
    ):
        client = storage.Client(
            project="factory", credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url}
        )
        inbound, prediction = client.create_bucket("inbound"), client.create_bucket("prediction")
        inbound.notification(
            topic_name="new", topic_project="factory", event_types=["OBJECT_FINALIZE"], payload_format="JSON_API_V1"
        ).create()
        yield Cloud(server.url, gate, slowness, inbound, prediction, announced)


@pytest.fixture
def cloud(running_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A Cloud Storage with two empty buckets."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", running_cloud.url + identity_path(FUNCTION))
    yield running_cloud
    running_cloud.gate.reset()
    running_cloud.slowness.rewrite_calls, running_cloud.slowness.names_for_a_page = 1, None
    for bucket in (running_cloud.inbound, running_cloud.prediction):
        for blob in bucket.list_blobs():
            blob.delete()
    running_cloud.gate.reset()


@pytest.fixture(scope="session")
def running_model() -> Iterator[Model]:
    """Both model services: AutoML v1 over gRPC and Vertex over HTTP."""
    told = Model()

    def predict(request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        assert request.name == AUTOML_MODEL
        told.hear(request.payload.image.image_bytes, dict(request.params))
        if told.grpc_error:
            context.abort(*told.grpc_error)
        return PredictResponse(
            payload=[
                AnnotationPayload(display_name=label, classification=ClassificationAnnotation(score=score))
                for label, score in told.scores.items()
            ]
        )

    handler = grpc.unary_unary_rpc_method_handler(
        predict,
        request_deserializer=PredictRequest.deserialize,
        response_serializer=PredictResponse.serialize,
    )
    server = grpc.server(futures.ThreadPoolExecutor(8))
    service = "google.cloud.automl.v1.PredictionService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Predict": handler}),))
    told.grpc_address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    async def answer(request: Request) -> Response:
        body = await request.json()
        [instance] = body["instances"]
        assert instance["mimeType"] == "image/jpeg"
        jpeg = base64.b64decode(instance["content"], validate=True)
        await run_in_threadpool(told.hear, jpeg, body["parameters"])
        if told.http_answer:
            status, content = told.http_answer
            return JSONResponse(content, status)
        names, confidences = list(told.scores), list(told.scores.values())
        return JSONResponse({"predictions": [{"ids": names, "displayNames": names, "confidences": confidences}]})

    app = Starlette(routes=[Route(f"/v1/{VERTEX_MODEL}:predict", answer, methods=["POST"])])
    with serve(app) as vertex:
        told.http_url = vertex.url
        yield told
    server.stop(grace=None).wait()


@pytest.fixture
def model(running_model: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """The model services, answering that a part is fine."""
    monkeypatch.setenv("AUTOML_EMULATOR_HOST", running_model.grpc_address)
    monkeypatch.setenv("AIPLATFORM_EMULATOR_HOST", running_model.http_url)
    running_model.reset()
    yield running_model
    running_model.reset()


@pytest.fixture
def topic(pubsub_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    unique = uuid4().hex[:12]
    name, subscription = f"projects/factory/topics/t-{unique}", f"projects/factory/subscriptions/s-{unique}"
    with SubscriberClient() as subscriber:
        PublisherClient().create_topic(name=name)
        subscriber.create_subscription(name=subscription, topic=name)
        yield Topic(name, subscription, subscriber)


@pytest.fixture
def start_move(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> MoveStarter:
    """Starts move with these thresholds."""

    def starter(threshold: float = 0.8, thresholds: dict[str, float] | None = None) -> Function:
        environment = {
            "PREDICTION_BUCKET": "prediction",
            "LABELS": json.dumps(["ok", "defect"]),
            "THRESHOLD": json.dumps(threshold),
            "THRESHOLDS": json.dumps(thresholds or {}),
        }
        return start("move", environment, monkeypatch)

    return starter


@pytest.fixture
def move(start_move: MoveStarter) -> Function:
    return start_move()


@pytest.fixture
def predict(cloud: Cloud, model: Model, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> Function:
    """Predict with an endpoint; for what does not depend on the kind of model."""
    return start_predict(VERTEX_MODEL, topic, monkeypatch)


@pytest.fixture(params=[AUTOML_MODEL, VERTEX_MODEL], ids=["automl", "vertex"])
def each_predict(
    request: pytest.FixtureRequest, cloud: Cloud, model: Model, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> Function:
    """Predict with each kind of model."""
    return start_predict(request.param, topic, monkeypatch)


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The log lines of both functions since the test began, as Cloud Logging reads them."""
    stream = io.StringIO()
    handlers: list[tuple[logging.Logger, logging.Handler]] = []
    for name in ("predict", "move"):
        logger = structured_logger(name)
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logger.handlers[0].formatter)
        logger.addHandler(handler)
        handlers.append((logger, handler))
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for logger, handler in handlers:
        logger.removeHandler(handler)
