"""Moves each image to the folder of the prediction bucket that its prediction and the thresholds say.

Two requests for an image: rewrite and delete. Deliberately no `get_bucket`, and no second try of any request: Pub/Sub
delivers again, with its backoff.
"""

import functools
import os
import threading

import flask
import functions_framework
from cloudevents.http import CloudEvent
from flask.typing import ResponseReturnValue
from google.cloud import storage
from mover import Mover

from inspection.environment import MisconfiguredError, MoveEnvironment
from inspection.logs import Steps, structured_logger
from inspection.message import Prediction
from inspection.push import answer_failure, is_repeated, message_of

# The client would otherwise ask for each bucket's metadata, for traces that nobody has switched on.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

log = structured_logger("move")


try:
    ENVIRONMENT = MoveEnvironment.from_variables(os.environ)
except MisconfiguredError as error:
    log.critical("%s", error)
    raise SystemExit(1) from None

_making_mover = threading.Lock()


@functools.cache
def _make_mover() -> Mover:
    return Mover(storage.Client(), ENVIRONMENT.prediction_bucket, ENVIRONMENT.thresholds)


def _mover() -> Mover:
    """The one of this process; made by the first request, as the server forks after start."""
    with _making_mover:
        return _make_mover()


@functions_framework.errorhandler(Exception)
def answer(error: Exception) -> ResponseReturnValue:
    """Log every failure and answer it, also one before :func:`move` is reached."""
    return answer_failure(log, error, flask.g.get("fields"))


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
