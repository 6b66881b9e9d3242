"""What is announced when objects change: to whom, in which words, and from where."""

import json
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud import storage
from google.cloud.storage.notification import JSON_API_V1_PAYLOAD_FORMAT, NONE_PAYLOAD_FORMAT, BucketNotification

from tests.local.conftest import Published

QUANTUM = 256 * 1024
TOPIC = "projects/factory/topics/new-images"


def notify(bucket: storage.Bucket, **how: Any) -> BucketNotification:  # noqa: ANN401  # as the client takes it
    how.setdefault("event_types", ["OBJECT_FINALIZE"])
    how.setdefault("payload_format", JSON_API_V1_PAYLOAD_FORMAT)
    notification = bucket.notification("new-images", topic_project="factory", **how)
    notification.create()
    return notification


def test_a_new_object_is_announced_in_googles_words(bucket: storage.Bucket, published: Published):
    notification = notify(bucket, custom_attributes={"line": "1"})
    blob = bucket.blob("folder/Prüfstück.jpg")
    blob.metadata = {"camera": "1"}
    blob.upload_from_string(b"picture", content_type="image/jpeg")
    [(topic, data, attributes)] = published.messages
    assert topic == TOPIC
    assert attributes.pop("eventTime").endswith("Z")
    assert attributes == {
        "notificationConfig": f"projects/_/buckets/{bucket.name}/notificationConfigs/{notification.notification_id}",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": bucket.name,
        "objectId": "folder/Prüfstück.jpg",
        "objectGeneration": str(blob.generation),
        "line": "1",
    }
    resource = json.loads(data)
    assert resource["kind"] == "storage#object"
    assert (resource["name"], resource["bucket"], resource["size"]) == (blob.name, bucket.name, "7")
    assert (resource["contentType"], resource["metadata"]) == ("image/jpeg", {"camera": "1"})
    assert resource["generation"] == str(blob.generation)


def test_every_way_to_make_an_object_is_announced_once(bucket: storage.Bucket, published: Published):
    notify(bucket)
    source = bucket.blob("uploaded")
    source.upload_from_string(b"1")
    bucket.blob("resumable", chunk_size=QUANTUM).upload_from_string(b"2" * (QUANTUM + 1))
    bucket.blob("rewritten").rewrite(source)
    bucket.copy_blob(source, bucket, "copied")
    bucket.move_blob(source, "moved")
    bucket.blob("composed").compose([bucket.blob("moved"), bucket.blob("copied")])
    names = [attributes["objectId"] for _, _, attributes in published.messages]
    assert names == ["uploaded", "resumable", "rewritten", "copied", "moved", "composed"]


def test_what_took_no_effect_is_not_announced(bucket: storage.Bucket, published: Published):
    notify(bucket)
    bucket.blob("x").upload_from_string(b"1")
    published.messages.clear()
    with pytest.raises(PreconditionFailed):
        bucket.blob("x").upload_from_string(b"2", if_generation_match=0)
    bucket.blob("x").delete()
    assert published.messages == []


def test_without_event_types_every_change_is_announced(bucket: storage.Bucket, published: Published):
    notify(bucket, event_types=None, payload_format=NONE_PAYLOAD_FORMAT)
    blob = bucket.blob("x")
    blob.upload_from_string(b"1")
    first = blob.generation
    blob.upload_from_string(b"2")
    blob.metadata = {"seen": "yes"}
    blob.patch()
    bucket.move_blob(blob, "y")
    seen = [(attributes["eventType"], attributes["objectId"]) for _, _, attributes in published.messages]
    assert seen == [
        ("OBJECT_FINALIZE", "x"),
        ("OBJECT_DELETE", "x"),
        ("OBJECT_FINALIZE", "x"),
        ("OBJECT_METADATA_UPDATE", "x"),
        ("OBJECT_FINALIZE", "y"),
        ("OBJECT_DELETE", "x"),
    ]
    _, gone, replaced = (attributes for _, _, attributes in published.messages[:3])
    assert gone["overwrittenByGeneration"] == str(blob.generation)
    assert replaced["overwroteGeneration"] == str(first)
    assert {data for _, data, _ in published.messages} == {b""}


def test_only_names_with_the_prefix_are_announced(bucket: storage.Bucket, published: Published):
    notify(bucket, blob_name_prefix="line 1/")
    bucket.blob("line 2/x").upload_from_string(b"")
    bucket.blob("line 1/x").upload_from_string(b"")
    assert [attributes["objectId"] for _, _, attributes in published.messages] == ["line 1/x"]


def test_the_object_is_stored_even_if_nobody_can_be_told(bucket: storage.Bucket, published: Published):
    notify(bucket)
    published.failure = RuntimeError("Pub/Sub is not there")
    bucket.blob("x").upload_from_string(b"picture")
    assert bucket.blob("x").download_as_bytes() == b"picture"


def test_nothing_is_published_from_the_event_loop(bucket: storage.Bucket, published: Published):
    published.threads.clear()
    notify(bucket)
    bucket.blob("x").upload_from_string(b"")
    bucket.blob("y", chunk_size=QUANTUM).upload_from_string(b"1" * QUANTUM * 2)
    bucket.move_blob(bucket.blob("x"), "z")
    assert published.threads
    assert all(name.startswith("AnyIO worker") for name in published.threads)


def test_configs_are_kept_listed_and_deleted(bucket: storage.Bucket, published: Published):
    first, second = notify(bucket), notify(bucket, blob_name_prefix="x")
    assert first.notification_id != second.notification_id
    assert [config.notification_id for config in bucket.list_notifications()] == [
        first.notification_id,
        second.notification_id,
    ]
    _, read = bucket.list_notifications()
    assert bucket.get_notification(second.notification_id).event_types == ["OBJECT_FINALIZE"]
    assert (read.topic_name, read.topic_project, read.blob_name_prefix) == ("new-images", "factory", "x")
    first.delete()
    with pytest.raises(NotFound):
        bucket.get_notification(first.notification_id)
    bucket.blob("y").upload_from_string(b"")
    assert published.messages == []


def test_a_config_that_cannot_work_is_refused(bucket: storage.Bucket):
    for wrong in (
        {"event_types": ["OBJECT_EATEN"]},
        {"payload_format": "XML"},
        {"custom_attributes": {"line": 1}},
    ):
        with pytest.raises(BadRequest):
            notify(bucket, **wrong)
