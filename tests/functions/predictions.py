"""Pushes of predictions as predict publishes them."""

from dataclasses import replace
from typing import Any

from inspection.message import Prediction
from tests.functions.stage import Push, push

MODEL = "projects/factory/locations/europe-west4/endpoints/42"


def generation_of(announced: Push) -> int:
    return int(announced["message"]["attributes"]["objectGeneration"])


def predicted(announced: Push, label: str = "ok", score: float = 0.95, **optional: object) -> Push:
    """What predict publishes for an announced image."""
    attributes = announced["message"]["attributes"]
    prediction = Prediction(
        bucket_name=attributes["bucketId"],
        image_name=attributes["objectId"],
        generation=generation_of(announced),
        model=MODEL,
        predicted_at="2026-11-21T08:30:00+00:00",
        prediction_label=label,
        prediction_score=score,
        predictions={label: score},
    )
    return push(replace(prediction, **optional).to_json())


def rejected(announced: Push, reason: str) -> Push:
    attributes = announced["message"]["attributes"]
    prediction = Prediction(
        bucket_name=attributes["bucketId"],
        image_name=attributes["objectId"],
        generation=generation_of(announced),
        model=MODEL,
        predicted_at="2026-11-21T08:30:00+00:00",
        error=reason,
    )
    return push(prediction.to_json())


def json_of(message: dict[str, Any]) -> bytes:
    """A message's fields, as predict writes them."""
    return Prediction(**message).to_json()
