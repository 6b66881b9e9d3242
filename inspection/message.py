"""The two messages of the pipeline: a new image, and the prediction for it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from inspection.heat_map import read_heat_map
from inspection.names import is_bucket_name

Value = TypeVar("Value")


class MalformedMessageError(ValueError):
    """A message that no retry can mend; the text names the field, its value and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """Cloud Storage's notification that an object was finalised.

    https://cloud.google.com/storage/docs/pubsub-notifications#format
    """

    bucket_name: str
    image_name: str
    generation: int
    size: int
    """Bytes."""
    content_type: str | None = None
    content_encoding: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """The camera's own metadata on the object."""

    @classmethod
    def parse(cls, attributes: Mapping[str, Any], data: bytes) -> "NewImage":
        """Read a notification with payload format JSON_API_V1.

        Raises:
            MalformedMessageError: it is not one.
        """
        event = _require(attributes, "eventType", _text)
        if event != "OBJECT_FINALIZE":
            message = f"eventType is {event!r}; only OBJECT_FINALIZE announces an image"
            raise MalformedMessageError(message)
        resource = _json_object(data)
        for key in ("contentType", "contentEncoding"):
            if resource.get(key) == "":
                del resource[key]
        return cls(
            bucket_name=_require(attributes, "bucketId", _bucket),
            image_name=_require(attributes, "objectId", _text),
            generation=_require(attributes, "objectGeneration", _generation),
            size=_require(resource, "size", _whole_number),
            content_type=_optional(resource, "contentType", _text),
            content_encoding=_optional(resource, "contentEncoding", _text),
            metadata=_optional(resource, "metadata", _texts) or {},
        )


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model said about one image, or why it could not be asked.

    Either `prediction_label`, `prediction_score` and `predictions` are given, or `error` is.
    """

    bucket_name: str
    image_name: str
    generation: int
    model: str
    predicted_at: str
    """RFC 3339."""
    prediction_label: str | None = None
    prediction_score: float | None = None
    predictions: Mapping[str, float] = field(default_factory=dict[str, float])
    """Every label with its score."""
    error: str | None = None
    content_type: str | None = None
    """Of the image. A rewrite that sets metadata keeps nothing else, so all three travel with the message."""
    content_encoding: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    heat_map: str | None = None
    """Where in the image the model saw it (:mod:`inspection.heat_map`); only some models say."""

    def to_json(self) -> bytes:
        """The data of the Pub/Sub message."""
        present = {key: value for key, value in asdict(self).items() if value is not None}
        return json.dumps(present, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Prediction":
        """Read the data of a Pub/Sub message; unknown fields are ignored.

        Raises:
            MalformedMessageError: a field is missing or has a value that cannot be.
        """
        fields = _json_object(data)
        error = _optional(fields, "error", _text)
        label = score = None
        predictions: Mapping[str, float] = {}
        if error is None:
            label = _require(fields, "prediction_label", _text)
            score = _require(fields, "prediction_score", _score)
            predictions = _require(fields, "predictions", _scores)
        return cls(
            bucket_name=_require(fields, "bucket_name", _bucket),
            image_name=_require(fields, "image_name", _text),
            generation=_require(fields, "generation", _generation),
            model=_require(fields, "model", _text),
            predicted_at=_require(fields, "predicted_at", _time),
            prediction_label=label,
            prediction_score=score,
            predictions=predictions,
            error=error,
            content_type=_optional(fields, "content_type", _text),
            content_encoding=_optional(fields, "content_encoding", _text),
            metadata=_optional(fields, "metadata", _texts) or {},
            heat_map=_optional(fields, "heat_map", _heat_map),
        )


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        message = f"the message's data is no JSON ({error}): {data[:100]!r}"
        raise MalformedMessageError(message) from error
    if not isinstance(value, dict):
        message = f"the message's data must be a JSON object, not {data[:100]!r}"
        raise MalformedMessageError(message)
    return value  # pyright: ignore[reportUnknownVariableType]  # JSON keys are text


def _require(fields: Mapping[str, Any], key: str, read: Callable[[Any], Value | None]) -> Value:
    value = _optional(fields, key, read)
    if value is None:
        message = f"the field {key!r} is missing; the message has {sorted(fields)}"
        raise MalformedMessageError(message)
    return value


def _optional(fields: Mapping[str, Any], key: str, read: Callable[[Any], Value | None]) -> Value | None:
    raw = fields.get(key)
    if raw is None:
        return None
    value = read(raw)
    if value is None:
        message = f"the field {key!r} is {str(raw)[:100]!r}; allowed is {_ALLOWED[read]}"
        raise MalformedMessageError(message)
    return value


def _text(raw: object) -> str | None:
    return raw if isinstance(raw, str) and raw and _is_unicode(raw) else None


def _is_unicode(text: str) -> bool:
    """JSON can spell lone surrogates; nothing is called that, and nobody could be told of it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bucket(raw: object) -> str | None:
    # The client puts a bucket's name into addresses as it is.
    return raw if isinstance(raw, str) and is_bucket_name(raw) else None


def _texts(raw: object) -> dict[str, str] | None:
    if not isinstance(raw, dict):
        return None
    texts: dict[str, str] = {}
    for key, value in raw.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(key, str) or not isinstance(value, str) or not _is_unicode(key + value):
            return None
        texts[key] = value
    return texts


def _whole_number(raw: object) -> int | None:
    # Google writes 64-bit numbers as text, our own messages as numbers.
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) <= len(str(2**63)):
        raw = int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 2**63:
        return raw
    return None


def _generation(raw: object) -> int | None:
    # Cloud Storage's client takes 0 for "whichever there is": another image would be moved as this one.
    return _whole_number(raw) or None


def _score(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw <= 1:
        return None
    return float(raw)


def _scores(raw: object) -> dict[str, float] | None:
    if not isinstance(raw, dict) or not raw:
        return None
    scores: dict[str, float] = {}
    for label, value in raw.items():  # pyright: ignore[reportUnknownVariableType]
        score = _score(value)
        if not isinstance(label, str) or not _is_unicode(label) or score is None:
            return None
        scores[label] = score
    return scores


def _heat_map(raw: object) -> str | None:
    if not isinstance(raw, str):
        return None
    try:
        read_heat_map(raw)
    except ValueError:
        return None
    return raw


def _time(raw: object) -> str | None:
    if not isinstance(raw, str):
        return None
    try:
        aware = datetime.fromisoformat(raw).tzinfo is not None
    except ValueError:
        return None
    return raw if aware else None


_ALLOWED: dict[Callable[[Any], Any], str] = {
    _text: "text that is not empty",
    _bucket: "a bucket's name: lower-case letters, digits, '-', '_' and '.'",
    _texts: "an object of texts",
    _whole_number: "a whole number",
    _generation: "a whole number from 1 on",
    _score: "a number from 0 to 1",
    _scores: "an object of labels, each with a number from 0 to 1",
    _heat_map: "a grid as text, as in 2:AAD/AA==",
    _time: "a time with its offset, as in 2026-11-21T08:30:00Z",
}
