"""The two messages: read strictly in what is needed, and forgiving in what is not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.message import MalformedMessageError, NewImage, Prediction
from inspection.push import message_of

ATTRIBUTES = {
    "eventType": "OBJECT_FINALIZE",
    "bucketId": "inbound",
    "objectId": "line 1/a#1.jpg",
    "objectGeneration": "1795252457570819",
    "payloadFormat": "JSON_API_V1",
    "notificationConfig": "projects/_/buckets/inbound/notificationConfigs/1",
    "eventTime": "2026-11-21T08:30:00.1Z",
}
RESOURCE = {
    "kind": "storage#object",
    "name": "line 1/a#1.jpg",
    "size": "1234",
    "contentType": "image/jpeg",
    "metadata": {"camera": "3"},
}
PREDICTION: dict[str, Any] = {
    "bucket_name": "inbound",
    "image_name": "a.jpg",
    "generation": 7,
    "model": "m",
    "predicted_at": "2026-11-21T08:30:00Z",
    "prediction_label": "ok",
    "prediction_score": 0.9,
    "predictions": {"ok": 0.9, "defect": 0.1},
    "content_type": "image/jpeg",
    "metadata": {"camera": "3"},
}
UNUSABLE = {key: PREDICTION[key] for key in ("bucket_name", "image_name", "generation", "model", "predicted_at")} | {
    "error": "the file is empty"
}


def test_a_notification_is_read():
    image = NewImage.parse(ATTRIBUTES, json.dumps(RESOURCE).encode())
    assert image == NewImage(
        bucket_name="inbound",
        image_name="line 1/a#1.jpg",
        generation=1795252457570819,
        size=1234,
        content_type="image/jpeg",
        metadata={"camera": "3"},
    )


@pytest.mark.parametrize("absent", [{"contentType": None, "metadata": None}, {"contentType": "", "metadata": {}}])
def test_a_notification_may_lack_what_a_camera_need_not_send(absent: dict[str, Any]):
    image = NewImage.parse(ATTRIBUTES, json.dumps(RESOURCE | absent).encode())
    assert image.content_type is None
    assert image.metadata == {}


@pytest.mark.parametrize("key", ["eventType", "bucketId", "objectId", "objectGeneration"])
@pytest.mark.parametrize("value", [None, "", 7.5, [], "\ud800", 0])
def test_a_notifications_attribute_that_cannot_be_is_named(key: str, value: object):
    with pytest.raises(MalformedMessageError, match=key):
        NewImage.parse(ATTRIBUTES | {key: value}, json.dumps(RESOURCE).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", None), ("size", ""), ("size", "-1"), ("size", "1.5"), ("size", "٣"), ("size", "9" * 20), ("size", True),
        ("size", 2**63), ("size", str(2**63)), ("size", 10**400), ("contentType", 3), ("metadata", 3), ("metadata", {"a": 1}),
        ("metadata", {"a": "\ud800"}), ("metadata", {"\ud800": "a"}),
    ],
)  # fmt: skip
def test_a_notifications_field_that_cannot_be_is_named(key: str, value: object):
    with pytest.raises(MalformedMessageError, match=key):
        NewImage.parse(ATTRIBUTES, json.dumps(RESOURCE | {key: value}).encode())


def test_generation_0_names_no_image():
    with pytest.raises(MalformedMessageError, match="'objectGeneration' is '0'; allowed is a whole number from 1"):
        NewImage.parse(ATTRIBUTES | {"objectGeneration": "0"}, json.dumps(RESOURCE).encode())


def test_only_a_finalised_object_announces_an_image():
    with pytest.raises(MalformedMessageError, match="'OBJECT_DELETE'; only OBJECT_FINALIZE"):
        NewImage.parse(ATTRIBUTES | {"eventType": "OBJECT_DELETE"}, b"{}")


@pytest.mark.parametrize("whole", [PREDICTION, UNUSABLE])
def test_a_prediction_survives_its_way(whole: dict[str, Any]):
    prediction = Prediction.from_json(json.dumps(whole).encode())
    assert Prediction.from_json(prediction.to_json()) == prediction
    for key, value in whole.items():
        assert getattr(prediction, key) == value


@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    score=st.floats(0, 1),
    metadata=st.dictionaries(st.text(), st.text(st.characters(exclude_categories=["Cs"]))),
)
def test_any_name_score_and_metadata_survive_their_way(name: str, score: float, metadata: dict[str, str]):
    prediction = Prediction(
        bucket_name="inbound",
        image_name=name,
        generation=2**63 - 1,
        model="m",
        predicted_at="2026-11-21T08:30:00+01:00",
        prediction_label=name,
        prediction_score=score,
        predictions={name: score},
        metadata=metadata,
    )
    assert Prediction.from_json(prediction.to_json()) == prediction


def test_fields_of_a_later_version_are_ignored():
    later = PREDICTION | {"explanation": {"heat": [1, 2]}}
    assert Prediction.from_json(json.dumps(later).encode()) == Prediction.from_json(json.dumps(PREDICTION).encode())


@pytest.mark.parametrize(
    "key",
    ["bucket_name", "image_name", "generation", "model", "predicted_at", "prediction_label", "prediction_score", "predictions"],
)  # fmt: skip
def test_a_missing_field_of_a_prediction_is_named_with_those_there_are(key: str):
    rest = {name: value for name, value in PREDICTION.items() if name != key}
    with pytest.raises(MalformedMessageError, match=f"'{key}' is missing; the message has .*'content_type'"):
        Prediction.from_json(json.dumps(rest).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bucket_name", ""), ("bucket_name", 3), ("bucket_name", "inbound/o/a.jpg?x="), ("bucket_name", ".inbound"), ("image_name", ["a"]), ("image_name", "\ud800"),
        ("generation", "x"), ("generation", -1), ("generation", 0), ("generation", 1.5), ("generation", True),
        ("model", {}), ("predicted_at", "yesterday"), ("predicted_at", "2026-11-21T08:30:00"), ("predicted_at", 5),
        ("prediction_label", ""), ("prediction_label", 1),
        ("prediction_score", "0.9"), ("prediction_score", 1.01), ("prediction_score", -0.1), ("prediction_score", True),
        ("prediction_score", float("nan")), ("prediction_score", float("inf")), ("prediction_score", 10**400),
        ("predictions", {}), ("predictions", []), ("predictions", {"ok": 2}), ("predictions", {"ok": None}),
        ("predictions", {"\ud800": 0.5}), ("metadata", {"a": "\ud800"}),
        ("content_type", 1), ("metadata", [1]), ("error", ""), ("error", 5),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_is_named_with_its_value_and_what_is_allowed(key: str, value: object):
    with pytest.raises(MalformedMessageError, match=rf"'{key}' is .*; allowed is "):
        Prediction.from_json(json.dumps(PREDICTION | {key: value}).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe\x00", b"3", b"[]", b"null", b'"text"', b"[" * 100_000, b"9" * 5000]
)
def test_data_that_is_no_json_object_is_told(data: bytes):
    with pytest.raises(MalformedMessageError, match="JSON"):
        Prediction.from_json(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_other_json_is_malformed_and_nothing_else(value: object):
    with pytest.raises(MalformedMessageError):
        Prediction.from_json(json.dumps(value).encode())
    with pytest.raises(MalformedMessageError):
        message_of({"message": {"data": "", "attributes": value or 3}} if not isinstance(value, dict) else value)


def test_a_push_gives_its_attributes_and_data():
    assert message_of({"message": {"data": "aGk=", "attributes": {"a": "b"}}}) == ({"a": "b"}, b"hi")
    assert message_of({"message": {}}) == ({}, b"")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (None, "no Pub/Sub message"),
        ({}, "no Pub/Sub message"),
        ({"message": []}, "no Pub/Sub message"),
        ({"message": {"data": "?"}}, "base64"),
        ({"message": {"data": 5}}, "base64"),
        ({"message": {"data": "ä"}}, "base64"),
        ({"message": {"attributes": ["a"]}}, "attributes"),
    ],
)
def test_what_is_no_push_is_told(event: object, told: str):
    with pytest.raises(MalformedMessageError, match=told):
        message_of(event)
