"""Both functions as their server starts them, with a Cloud Storage, a model and a Pub/Sub on this machine."""

import logging
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.automl_v1.types import AnnotationPayload, ClassificationAnnotation, PredictRequest, PredictResponse
from google.pubsub_v1.types import PublishRequest, PublishResponse

from inspection.logs import structured_logger
from local.google.http import serve
from local.google.rpc import RunningGrpcServer, unary_method
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore
from proof.fuzz_mutations import Fuzzed
from proof.fuzz_pushes import Request
from tests.functions.stage import AUTOML_MODEL, Function, start

SECONDS_FOR_ONE = 20.0
"""Generous: most take milliseconds, and a request may be answered late on a busy machine."""
_TOPIC = "projects/factory/topics/predictions"


@dataclass
class Stage:
    """The functions and what they speak to."""

    predict: Function
    move: Function
    inbound: storage.Bucket
    prediction: storage.Bucket
    published: list[bytes]
    """By predict."""
    records: list[logging.LogRecord]
    """Log lines of the functions since they were last taken."""
    unwritable: list[str]
    """Log lines that could not be written."""

    def answer(self, fuzzed: Fuzzed, request: "Request", *, is_original: bool = False) -> tuple[int, dict[str, Any]]:
        """The answer's status, and the fields of the last log line; what must never be is noted."""
        self.records.clear()
        function = self.predict if fuzzed.target.startswith("predict") else self.move

        def post() -> int:
            return function.app.test_client().post("/", data=request.body, headers=request.headers).status_code

        status = fuzzed.one(request.body, post, limit=SECONDS_FOR_ONE, is_original=is_original)
        if status is None:
            return 0, {}
        fuzzed.outcomes[f"answered {status}"] += 1
        for record in self.records:
            if record.exc_info:
                kind = record.exc_info[0].__name__ if record.exc_info[0] else "?"
                fuzzed.find(f"unexpected {kind}", f"{record.getMessage()}: {request.body}")
        while self.unwritable:
            fuzzed.find("a log line could not be written", f"{self.unwritable.pop()}: {request.body}")
        if not self.records:
            fuzzed.find("answered without a log line", f"{status}: {request.body}")
        fields = getattr(self.records[-1], "fields", {}) if self.records else {}
        return status, fields


@contextmanager
def surroundings() -> Generator[Stage]:
    with ExitStack() as stack:
        store = stack.enter_context(ObjectStore(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        server = stack.enter_context(serve(storage_app(store)))
        published: list[bytes] = []
        door = stack.enter_context(RunningGrpcServer([_publisher(published), _model()]))
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for key, value in {
            "STORAGE_EMULATOR_HOST": server.url,
            "PUBSUB_EMULATOR_HOST": door.address,
            "AUTOML_EMULATOR_HOST": door.address,
        }.items():
            environment.setenv(key, value)
        client = storage.Client(
            project="factory", credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url}
        )
        predict = start("predict", {"MODEL_ID": AUTOML_MODEL, "PREDICTIONS_TOPIC": _TOPIC}, environment)
        sorting = {"LABELS": '["ok", "defect"]', "THRESHOLD": "0.8", "THRESHOLDS": "{}"}
        move = start("move", {"PREDICTION_BUCKET": "prediction", **sorting}, environment)
        records, unwritable = list[logging.LogRecord](), list[str]()
        stack.enter_context(_watched_logs(records, unwritable))
        yield Stage(
            predict=predict,
            move=move,
            inbound=client.create_bucket("inbound"),
            prediction=client.create_bucket("prediction"),
            published=published,
            records=records,
            unwritable=unwritable,
        )


@contextmanager
def _watched_logs(records: list[logging.LogRecord], unwritable: list[str]) -> Generator[None]:
    """The lines go where they would be written, as far as writing them can fail, and not on the screen."""

    class Watching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)
            try:
                self.format(record).encode()
            except Exception as error:  # noqa: BLE001 - any is a finding
                unwritable.append(f"{type(error).__name__}: {error}")

    loggers = [structured_logger(name) for name in ("predict", "move")]
    formatter = loggers[0].handlers[0].formatter
    watching = Watching()
    watching.setFormatter(formatter)
    with ExitStack() as stack:
        for logger in loggers:
            stack.enter_context(patch.object(logger, "handlers", [watching]))
        yield


def _publisher(published: list[bytes]) -> Any:  # noqa: ANN401 - gRPC's types are private
    import grpc

    def publish(request: PublishRequest) -> PublishResponse:
        published.extend(message.data for message in request.messages)
        return PublishResponse(message_ids=["1"] * len(request.messages))

    method = unary_method(publish, PublishRequest, PublishResponse)
    return grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": method})


def _model() -> Any:  # noqa: ANN401 - gRPC's types are private
    import grpc

    def predict(_: PredictRequest) -> PredictResponse:
        annotations = [
            AnnotationPayload(display_name=label, classification=ClassificationAnnotation(score=score))
            for label, score in {"ok": 0.95, "defect": 0.05}.items()
        ]
        return PredictResponse(payload=annotations)

    method = unary_method(predict, PredictRequest, PredictResponse)
    return grpc.method_handlers_generic_handler("google.cloud.automl.v1.PredictionService", {"Predict": method})
