"""Asks the model about each new image and publishes what it says.

Three requests for an image: read, classify, publish. Deliberately no `get_bucket`, and no second try of any request:
Pub/Sub delivers again, with its backoff.
"""

import functools
import os
import threading
from datetime import UTC, datetime
from typing import Any

import flask
import functions_framework
from classifiers import Answer, Classifier, classifier_for
from cloudevents.http import CloudEvent
from flask.typing import ResponseReturnValue
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.pubsub_v1 import PublisherClient, PubsubMessage
from urllib3.exceptions import HTTPError

from imaging.bounded import DecoderError, UnusableImageError
from imaging.prepare import prepare, unpack
from inspection.environment import MisconfiguredError, PredictEnvironment
from inspection.logs import Steps, structured_logger
from inspection.message import NewImage, Prediction
from inspection.push import REPEATED, RetryLaterError, answer_failure, failed_request, is_repeated, message_of

MAX_FILE_BYTES = 50_000_000
"""A larger file is not read: several are in memory at once."""

_ONCE: dict[str, Any] = {"timeout": 30, "retry": None}
"""Seconds for each request, and no second try of it."""

# The client would otherwise ask for each bucket's metadata, for traces that nobody has switched on.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

log = structured_logger("predict")


try:
    ENVIRONMENT = PredictEnvironment.from_variables(os.environ)
except MisconfiguredError as error:
    log.critical("%s", error)
    raise SystemExit(1) from None


class _Clients:
    """The clients of this process."""

    def __init__(self) -> None:
        self.storage = storage.Client()
        self.classifier: Classifier = classifier_for(ENVIRONMENT)
        self.publisher = PublisherClient()


_making_clients = threading.Lock()


@functools.cache
def _make_clients() -> _Clients:
    return _Clients()


def _clients() -> _Clients:
    """Made by the first request and not at start: the server forks after start, and gRPC does not survive that."""
    with _making_clients:
        return _make_clients()


@functions_framework.errorhandler(Exception)
def answer(error: Exception) -> ResponseReturnValue:
    """Log every failure and answer it, also one before :func:`predict` is reached."""
    return answer_failure(log, error, flask.g.get("fields"))


@functions_framework.cloud_event
def predict(event: CloudEvent) -> None:
    """Classify the image that Cloud Storage's notification announces."""
    flask.g.fields = {}  # the request could be read
    attributes, data = message_of(event.data)
    image = NewImage.parse(attributes, data)
    steps = Steps()
    fields: dict[str, object] = {
        "image": image.image_name,
        "generation": image.generation,
        "model": ENVIRONMENT.model.name,
    }
    flask.g.fields = fields

    answer_of_model = Answer({})
    error = _why_not_to_read(image)
    if error is None:
        with steps.time("read"):
            data = _read(image)
        if data is None:
            log.info("deleted or replaced before its turn", extra={"fields": {**fields, "outcome": "gone"}})
            return
        try:
            with steps.time("prepare"):
                jpeg = prepare(unpack(data, image.content_encoding, at_most=MAX_FILE_BYTES))
            with steps.time("classify"):
                answer_of_model = _clients().classifier.classify(jpeg)
        except UnusableImageError as reason:
            error = str(reason)
        except DecoderError as failure:
            raise RetryLaterError(f"Decoding {image.image_name} failed and is retried: {failure}") from failure

    predictions = answer_of_model.scores
    label = max(predictions, key=predictions.__getitem__) if predictions else None
    score = predictions[label] if label is not None else None
    prediction = Prediction(
        bucket_name=image.bucket_name,
        image_name=image.image_name,
        generation=image.generation,
        model=ENVIRONMENT.model.name,
        predicted_at=datetime.now(UTC).isoformat(),
        prediction_label=label,
        prediction_score=score,
        predictions=predictions,
        error=error,
        content_type=image.content_type,
        content_encoding=image.content_encoding,
        metadata=image.metadata,
        heat_map=answer_of_model.heat_map,
    )
    with steps.time("publish"):
        _publish(prediction, repeated=is_repeated(flask.request.get_json(silent=True), attributes))
    if error is None:
        fields |= {"label": label, "score": score, "outcome": "classified"}
    else:
        fields |= {"error": error, "outcome": "unusable"}
    log.info("%s", fields["outcome"], extra={"fields": fields | steps.fields})


def _why_not_to_read(image: NewImage) -> str | None:
    if image.image_name.endswith("/"):
        return "the name ends in '/': this is a folder, not a picture"
    if image.size == 0:
        return "the file is empty"
    if image.size > MAX_FILE_BYTES:
        return f"the file is too large: {image.size:,} bytes, allowed are {MAX_FILE_BYTES:,}"
    return None


def _read(image: NewImage) -> bytes | None:
    """Exactly the announced generation; None if there is no such any more."""
    blob = _clients().storage.bucket(image.bucket_name).blob(image.image_name, generation=image.generation)
    doing = f"Reading gs://{image.bucket_name}/{image.image_name}"
    try:
        # As it is stored: the client would unpack a compressed file of any size into memory.
        return blob.download_as_bytes(raw_download=True, **_ONCE)
    except NotFound:
        return None
    except GoogleAPICallError as error:
        raise failed_request(
            doing,
            status=error.code,
            answer=error.message,
            check="that this function's account has roles/storage.objectViewer on the bucket",
        ) from error
    except (OSError, HTTPError, DataCorruption, GoogleAuthError) as error:
        # A connection that breaks off or stalls within the body: urllib3's own error, as the body is read raw. OSError is
        # all of requests' as well, and corrupted is what does not match its checksum.
        raise failed_request(doing, status=None, answer=str(error), check="") from error


def _publish(prediction: Prediction, *, repeated: bool) -> None:
    """Return once Pub/Sub has the message."""
    # An earlier delivery may have published as well, and the model may have said something else then.
    attributes = {REPEATED: "true"} if repeated else {}
    message = PubsubMessage(data=prediction.to_json(), attributes=attributes)
    doing = f"Publishing to {ENVIRONMENT.topic}"
    try:
        _clients().publisher.publish(topic=ENVIRONMENT.topic, messages=[message], **_ONCE)
    except GoogleAPICallError as error:
        raise failed_request(
            doing,
            status=error.code,
            answer=error.message,
            check="that the topic exists and that this function's account has roles/pubsub.publisher on it",
        ) from error
    except GoogleAuthError as error:
        raise failed_request(doing, status=None, answer=str(error), check="") from error
