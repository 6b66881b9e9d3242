"""Pushes of Pub/Sub and CloudEvents, mutated at any of their layers."""

import base64
import json
import random
from dataclasses import dataclass
from typing import Any

from proof.fuzz_mutations import Fuzzed, as_json, mutated, mutated_bytes


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


def mutated_push(
    fuzzed: Fuzzed, data: dict[str, Any], attributes: dict[str, Any], rng: random.Random
) -> tuple[Request, bool]:
    """A push of this message, mutated at one of its layers or at several; and whether it is as it should be.

    That is one in twenty, so that much of what comes between is about something that has just happened.
    """
    form, attempt = rng.randrange(4), rng.choice([1, 2])
    headers, body = in_some_form(as_push(json.dumps(data).encode(), attributes, attempt), form)
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
    push = as_push(encoded, attributes, attempt)
    if "message" in layers:
        push["message"] = mutated(push["message"], rng, changes=changes)
    if "push" in layers:
        push = mutated(push, rng, changes=changes)
    headers, push = in_some_form(push, form)
    if "headers" in layers:
        headers, push = _odd_headers(headers, rng), mutated(push, rng)
    body = as_json(push, rng)
    if "bytes" in layers:
        body = mutated_bytes(body, rng, changes=changes)
    return Request(headers=headers, body=body)


def as_push(data: bytes, attributes: dict[str, Any], attempt: int) -> dict[str, Any]:
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": attributes,
        "messageId": "7",
        "message_id": "7",
        "publishTime": "2026-11-21T08:30:00Z",
    }
    return {"message": message, "subscription": "projects/factory/subscriptions/s", "deliveryAttempt": attempt}


def in_some_form(push: Any, form: int) -> tuple[dict[str, str], Any]:  # noqa: ANN401 - any JSON
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


def attribute(request: Request, key: str) -> object:
    attributes = (request.message or {}).get("attributes")
    return attributes.get(key) if isinstance(attributes, dict) else None


def field(request: Request, key: str) -> object:
    try:
        return json.loads(base64.b64decode((request.message or {})["data"]))[key]
    except (ValueError, TypeError, KeyError):
        return None
