"""Mutated Pub/Sub pushes and CloudEvents at both functions, which run as their server starts them.

They speak to a Cloud Storage, a model and a Pub/Sub on this machine. A push that is answered with success will never be
delivered again: then its picture must have been published, or moved, or never have been there.
"""

import base64
import gzip
import hashlib
import json
import logging
import os
import random
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.automl_v1.types import AnnotationPayload, ClassificationAnnotation, PredictRequest, PredictResponse
from google.pubsub_v1.types import PublishRequest, PublishResponse

from inspection import layout
from inspection.logs import structured_logger
from inspection.message import MalformedMessageError, NewImage, Prediction
from local.google.http import serve
from local.google.rpc import RunningGrpcServer, unary_method
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore
from proof.fuzz_mutations import Fuzzed, as_json, mutated, mutated_bytes
from proof.fuzz_pictures import FORMATS, MEMORY_BYTES, mutated_pictures
from tests.functions.stage import AUTOML_MODEL, Function, picture, start

SECONDS_FOR_ONE = 20.0
"""Generous: most take milliseconds, and a request may be answered late on a busy machine."""
_PICTURES = 12
_STDERR = 2
_TOPIC = "projects/factory/topics/predictions"


def fuzz_functions(count: int, seed: int) -> list[Fuzzed]:
    """`count` mutated pushes at each function; the same for the same seed."""
    with _surroundings() as stage:
        return [_fuzz_predict(stage, count, seed), _fuzz_move(stage, count, seed)]


def fuzz_whole_path(count: int, seed: int) -> list[Fuzzed]:
    """`count` mutated pictures of each format in the inbound bucket, and good notifications of them."""
    with _surroundings() as stage, _without_remarks():
        return [_fuzz_pictures(stage, kind, count, seed) for kind in FORMATS]


@contextmanager
def _without_remarks() -> Generator[None]:
    """What decoders in C have to say of odd files goes nowhere."""
    kept = os.dup(_STDERR)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)


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


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is posted."""

    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any] | None:
        """The Pub/Sub message in it, as far as it can be read."""
        try:
            body = json.loads(self.body)
            return (body.get("data") or body)["message"] if "specversion" in body else body["message"]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def _fuzz_predict(stage: Stage, count: int, seed: int) -> Fuzzed:
    fuzzed, rng = Fuzzed(target="predict: pushes and CloudEvents"), random.Random(seed)
    there = {_upload(stage.inbound, number): number for number in range(_PICTURES)}
    with fuzzed.timed():
        while fuzzed.count < count:
            name, generation = rng.choice(list(there))
            data, attributes = _notification(stage.inbound, name, generation)
            request, is_original = _request(fuzzed, data, attributes, rng)
            before = len(stage.published)
            status, fields = stage.answer(fuzzed, request, is_original=is_original)
            published = stage.published[before:]
            _check_prediction(fuzzed, request.body, status, fields, published)
            about = (fields.get("image"), fields.get("generation"))
            if _is_gone(status, fields) and about in there and _attribute(request, "bucketId") == stage.inbound.name:
                fuzzed.find("acknowledged as gone, and is there", request.body)
    if (left := _names(stage.inbound)) != set(there):
        fuzzed.find("pictures are gone", set(there) - left)
    return fuzzed


def _fuzz_pictures(stage: Stage, kind: str, count: int, seed: int) -> Fuzzed:
    """The same mutated pictures that :mod:`proof.fuzz_pictures` tries first, through the whole function."""
    fuzzed = Fuzzed(target=f"predict, whole: {kind}", memory_for_one=MEMORY_BYTES)
    rng = random.Random(seed)
    with fuzzed.timed():
        for number, mutation in enumerate(islice(mutated_pictures(kind, seed), count)):
            packed = rng.random() < 0.2
            content = gzip.compress(mutation, 1, mtime=0) if packed else mutation
            blob = stage.inbound.blob(f"{kind}/{number}")
            if packed:
                blob.content_encoding = "gzip"
            blob.upload_from_string(content, content_type=f"image/{kind.lower()}", if_generation_match=0)
            resource, attributes = _notification(stage.inbound, str(blob.name), int(blob.generation or 0))
            resource |= {"size": str(len(content))} | ({"contentEncoding": "gzip"} if packed else {})
            headers, body = _in_some_form(_push(json.dumps(resource).encode(), attributes, 1), form=2)
            before = len(stage.published)
            status, fields = stage.answer(fuzzed, Request(headers=headers, body=json.dumps(body).encode()))
            about = f"{number} of seed {seed}: {status} {fields}"
            if not _acknowledged(status):
                fuzzed.find("a picture that is never done with", about)
            _check_prediction(fuzzed, about, status, fields, stage.published[before:])
            if _is_gone(status, fields):
                fuzzed.find("acknowledged as gone, and is there", about)
            now = stage.inbound.get_blob(str(blob.name))
            if now is None or now.md5_hash != _md5(content):
                fuzzed.find("a picture is not what it was", about)
            blob.delete()
    return fuzzed


def _check_prediction(
    fuzzed: Fuzzed, about: object, status: int, fields: dict[str, Any], published: list[bytes]
) -> None:
    """Acknowledged and published are one; and move can read what was."""
    if _acknowledged(status) and not _is_gone(status, fields) and len(published) != 1:
        fuzzed.find("acknowledged without a prediction", about)
    if published and not _acknowledged(status):
        fuzzed.find("published and then not acknowledged", about)
    for message in published:
        try:
            told = Prediction.from_json(message)
        except MalformedMessageError as error:
            fuzzed.find("published what move cannot read", f"{error}: {about}")
        else:
            fuzzed.outcomes["published: " + ("an error" if told.error else "a label")] += 1


def _fuzz_move(stage: Stage, count: int, seed: int) -> Fuzzed:
    fuzzed, rng = Fuzzed(target="move: pushes and CloudEvents"), random.Random(seed)
    for blob in stage.inbound.list_blobs():
        blob.delete()
    waiting: dict[tuple[str, int], bytes] = {}
    sent: dict[str, bytes] = {}
    with fuzzed.timed():
        while (turn := fuzzed.count) < count:
            while len(waiting) < _PICTURES:
                number = len(sent)
                image = _upload(stage.inbound, number)
                waiting[image] = sent[layout.source_uri(str(stage.inbound.name), *image)] = _picture(number)
            name, generation = rng.choice(list(waiting))
            prediction = Prediction(
                bucket_name=str(stage.inbound.name),
                image_name=name,
                generation=generation,
                model=AUTOML_MODEL,
                predicted_at="2026-11-21T08:30:00Z",
                prediction_label="ok",
                prediction_score=rng.choice([0.3, 0.95]),
                predictions={"ok": 0.95, "defect": 0.05},
                content_type="image/jpeg",
                metadata={"station": "7"},
                **({} if turn % 7 else {"error": "the file is empty"}),
            )
            request, is_original = _request(fuzzed, json.loads(prediction.to_json()), {}, rng)
            status, fields = stage.answer(fuzzed, request, is_original=is_original)
            about = (fields.get("image"), fields.get("generation"))
            if _is_gone(status, fields) and about in waiting and _field(request, "bucket_name") == stage.inbound.name:
                fuzzed.find("acknowledged as gone, and is there", request.body)
            elif _acknowledged(status) and not _is_gone(status, fields):
                fuzzed.outcomes[str(fields.get("outcome"))] += 1
                waiting.pop(cast("tuple[str, int]", about), None)
    _account(fuzzed, stage, sent)
    return fuzzed


def _account(fuzzed: Fuzzed, stage: Stage, sent: dict[str, bytes]) -> None:
    """Each picture is in one place, with its own bytes; `sent` has them by their source."""
    places: dict[str, list[str | None]] = {}
    for blob in stage.inbound.list_blobs():
        source = layout.source_uri(str(stage.inbound.name), str(blob.name), int(blob.generation or 0))
        places.setdefault(source, []).append(blob.md5_hash)
    for blob in stage.prediction.list_blobs():
        places.setdefault((blob.metadata or {}).get(layout.SOURCE, "no source"), []).append(blob.md5_hash)
    for source, content in sent.items():
        if places.pop(source, []) != [_md5(content)]:
            fuzzed.find("a picture is not in exactly one place with its bytes", source)
    if places:
        fuzzed.find("pictures that nobody sent", list(places))
    fuzzed.outcomes["pictures accounted for"] = len(sent)


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _acknowledged(status: int) -> bool:
    return 100 <= status < 300  # Pub/Sub takes a few of these for success


def _is_gone(status: int, fields: dict[str, Any]) -> bool:
    return _acknowledged(status) and fields.get("outcome") == "gone"


def _request(
    fuzzed: Fuzzed, data: dict[str, Any], attributes: dict[str, Any], rng: random.Random
) -> tuple[Request, bool]:
    """A push of this message, mutated at one of its layers or at several; and whether it is as it should be.

    That is one in twenty, so that much of what comes between is about something that has just happened.
    """
    form, attempt = rng.randrange(4), rng.choice([1, 2])
    headers, body = _in_some_form(_push(json.dumps(data).encode(), attributes, attempt), form)
    original = Request(headers=headers, body=json.dumps(body).encode())
    if rng.random() < 0.05:
        return original, True
    return fuzzed.drawn(lambda: _mutated_request(data, attributes, form, attempt, rng), original), False


def _mutated_request(
    data: dict[str, Any], attributes: dict[str, Any], form: int, attempt: int, rng: random.Random
) -> Request:
    layers = rng.choices(["data", "attributes", "message", "push", "bytes", "headers"], [8, 5, 4, 4, 2, 2])
    if rng.random() < 0.2:
        layers += rng.choices(["data", "attributes", "message", "push", "bytes"])
    changes = rng.choice([1, 1, 1, 2, 4])
    if "data" in layers:
        data = mutated(data, rng, changes=changes)
    if "attributes" in layers:
        attributes = mutated(attributes, rng, changes=changes)
    encoded = as_json(data, rng)
    if "bytes" in layers and rng.random() < 0.5:
        encoded = mutated_bytes(encoded, rng, changes=changes)
    push = _push(encoded, attributes, attempt)
    if "message" in layers:
        push["message"] = mutated(push["message"], rng, changes=changes)
    if "push" in layers:
        push = mutated(push, rng, changes=changes)
    headers, push = _in_some_form(push, form)
    if "headers" in layers:
        headers, push = _odd_headers(headers, rng), mutated(push, rng)
    body = as_json(push, rng)
    if "bytes" in layers:
        body = mutated_bytes(body, rng, changes=changes)
    return Request(headers=headers, body=body)


def _push(data: bytes, attributes: dict[str, Any], attempt: int) -> dict[str, Any]:
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": attributes,
        "messageId": "7",
        "message_id": "7",
        "publishTime": "2026-11-21T08:30:00Z",
    }
    return {"message": message, "subscription": "projects/factory/subscriptions/s", "deliveryAttempt": attempt}


def _in_some_form(push: Any, form: int) -> tuple[dict[str, str], Any]:  # noqa: ANN401 - any JSON
    """Headers and body of what Pub/Sub pushes, or of a CloudEvent in either of its forms."""
    event = {
        "id": "7",
        "type": "google.cloud.pubsub.topic.v1.messagePublished",
        "source": "//pubsub.googleapis.com/projects/factory/topics/t",
        "specversion": "1.0",
    }
    json_type = {"Content-Type": "application/json"}
    match form:
        case 0:
            return json_type | {f"ce-{key}": value for key, value in event.items()}, push
        case 1:
            whole = {**event, "datacontenttype": "application/json", "data": push}
            return {"Content-Type": "application/cloudevents+json"}, whole
        case _:
            return json_type, push


def _odd_headers(headers: dict[str, str], rng: random.Random) -> dict[str, str]:
    odd = [
        "",
        "2.0",
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=x",
        "é",
        "x" * 5000,
    ]
    changed = dict(headers)
    key = rng.choice([*changed, "ce-specversion", "ce-datacontenttype", "ce-time", "Content-Encoding", "X-HTTP-Method"])
    if key in changed and rng.random() < 0.3:
        del changed[key]
    else:
        changed[key] = rng.choice(odd)
    return changed


def _attribute(request: Request, key: str) -> object:
    attributes = (request.message or {}).get("attributes")
    return attributes.get(key) if isinstance(attributes, dict) else None


def _field(request: Request, key: str) -> object:
    try:
        return json.loads(base64.b64decode((request.message or {})["data"]))[key]
    except (ValueError, TypeError, KeyError):
        return None


def _picture(number: int) -> bytes:
    return picture((number % 256, number // 256 % 256, number // 65536 % 256))


def _upload(bucket: storage.Bucket, number: int) -> tuple[str, int]:
    blob = bucket.blob(f"line 1/part {number}.jpg")
    blob.metadata = {"station": "7"}
    blob.upload_from_string(_picture(number), content_type="image/jpeg", if_generation_match=0)
    return str(blob.name), int(blob.generation or 0)


def _names(bucket: storage.Bucket) -> set[tuple[str, int]]:
    return {(str(blob.name), int(blob.generation or 0)) for blob in bucket.list_blobs()}


def _notification(bucket: storage.Bucket, name: str, generation: int) -> tuple[dict[str, Any], dict[str, Any]]:
    resource = {
        "kind": "storage#object",
        "name": name,
        "bucket": bucket.name,
        "generation": str(generation),
        "size": "900",
        "contentType": "image/jpeg",
        "metadata": {"station": "7"},
    }
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": str(bucket.name),
        "objectId": name,
        "objectGeneration": str(generation),
    }
    NewImage.parse(attributes, json.dumps(resource).encode())  # good as long as nothing is changed
    return resource, attributes


@contextmanager
def _surroundings() -> Generator[Stage]:
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
