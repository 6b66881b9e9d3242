"""Moves each image to the folder of the prediction bucket that its prediction and the thresholds say.

Two requests for an image: rewrite and delete. Deliberately no `get_bucket`, and no second try of any request: Pub/Sub
delivers again, with its backoff.
"""

import functools
import json
import os
import threading
from http import HTTPStatus
from typing import Any

import flask
import functions_framework
from cloudevents.http import CloudEvent
from google.cloud import storage
from mover import Mover
from werkzeug.exceptions import HTTPException

from inspection.labels import LABEL_RULE, is_label
from inspection.logs import Steps, structured_logger
from inspection.message import Prediction
from inspection.push import answer_failure, is_repeated, message_of
from inspection.routing import Thresholds

# The client would otherwise ask for each bucket's metadata, for traces that nobody has switched on.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

log = structured_logger("move")


def _setting(name: str, allowed: str) -> Any:  # noqa: ANN401 - any JSON
    text = os.environ.get(name, "")
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; allowed is {allowed}") from None


def _threshold(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; allowed is a number from 0 to 1")
    return float(value)


def _settings() -> tuple[str, Thresholds]:
    """The prediction bucket and the thresholds that the environment names.

    Raises:
        ValueError: it does not.
    """
    bucket = os.environ.get("PREDICTION_BUCKET", "")
    if not bucket:
        raise ValueError("PREDICTION_BUCKET is missing; allowed is a bucket's name")
    labels = _setting("LABELS", "a JSON list of labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"LABELS is {labels!r}; allowed is a JSON list of labels")
    for label in labels:
        if not is_label(label):
            raise ValueError(f"LABELS has {label!r}; allowed are {LABEL_RULE}")
    common = _threshold("THRESHOLD", _setting("THRESHOLD", "a number from 0 to 1"))
    by_label = _setting("THRESHOLDS", "a JSON object of labels, each with a number")
    if not isinstance(by_label, dict):
        raise ValueError(  # noqa: TRY004 - of the environment, like every other setting
            f"THRESHOLDS is {by_label!r}; allowed is a JSON object of labels, each with a number"
        )
    for label in by_label:
        if label not in labels:
            raise ValueError(f"THRESHOLDS has {label!r}; allowed are {', '.join(labels)}")
    return bucket, Thresholds(
        labels=tuple(labels),
        common=common,
        by_label={label: _threshold(f"THRESHOLDS.{label}", value) for label, value in by_label.items()},
    )


try:
    PREDICTION_BUCKET, THRESHOLDS = _settings()
except ValueError as error:
    log.critical("%s", error)
    raise SystemExit(1) from None

_making_mover = threading.Lock()


@functools.cache
def _make_mover() -> Mover:
    return Mover(storage.Client(), PREDICTION_BUCKET, THRESHOLDS)


def _mover() -> Mover:
    """The one of this process; made by the first request, as the server forks after start."""
    with _making_mover:
        return _make_mover()


@functions_framework.errorhandler(Exception)
def answer(error: Exception) -> HTTPException | tuple[str, int]:
    """Every failure's log line and status, also of those before :func:`move` is reached."""
    if isinstance(error, HTTPException):
        # Not its description: that repeats the request's headers, and so the caller's token.
        log.warning("the request is no Pub/Sub push: %s %s", error.code, error.name)
        return error
    if "fields" not in flask.g:
        # The framework raises whatever its readers do. Nothing of the text: it may repeat the request as well.
        log.warning("the request is no Pub/Sub push: %s", type(error).__name__)
        return "no Pub/Sub push", HTTPStatus.BAD_REQUEST
    return answer_failure(log, error, flask.g.fields)


@functions_framework.cloud_event
def move(event: CloudEvent) -> None:
    """Move the image of a prediction message."""
    flask.g.fields = {}  # the request could be read
    attributes, data = message_of(event.data)
    prediction = Prediction.from_json(data)
    steps = Steps()
    fields: dict[str, object] = {
        "image": prediction.image_name,
        "generation": prediction.generation,
        "model": prediction.model,
        "label": prediction.prediction_label,
        "score": prediction.prediction_score,
    }
    if prediction.error is not None:
        fields["error"] = prediction.error
    flask.g.fields = fields
    move = _mover().move(prediction, repeated=is_repeated(flask.request.get_json(silent=True), attributes), steps=steps)
    if move.left_out:
        fields["metadata_left_out"] = move.left_out
    fields |= {"folder": move.folder, "name": move.name, "outcome": move.outcome} | steps.fields
    log.info("%s", move.outcome, extra={"fields": fields})
