"""Notification configs, and what is published for them."""

import json
import logging
import re
from collections.abc import Callable
from typing import cast

from starlette.responses import Response

from local.google.gate import ApiError, Gate
from local.google.identity import NOBODY, identity_path, server_url
from local.google.storage import resources
from local.google.storage.records import Changed, Event, Fields, StoredObject, invalid, no_notification
from local.google.storage.requests import StorageRequest, passing
from local.google.storage.store import ObjectStore

Publish = Callable[[str, bytes, dict[str, str]], None]
"""`publish(topic, data, attributes)` with `topic` as `projects/P/topics/T`; returns when Pub/Sub has the message."""
_TOPIC = re.compile(r"(?://pubsub\.googleapis\.com/)?(?P<topic>projects/[^/]+/topics/[^/]+)")
_EVENTS = {"OBJECT_FINALIZE", "OBJECT_METADATA_UPDATE", "OBJECT_DELETE", "OBJECT_ARCHIVE"}
_log = logging.getLogger(__name__)


class Notifier:
    """Publishes what happened to an object to the topics of its bucket's notification configs."""

    def __init__(self, store: ObjectStore, publish: Publish | None) -> None:
        """Without `publish`, notifications go nowhere."""
        self._store = store
        self._publish = publish

    def announce(self, request: StorageRequest, events: tuple[Event, ...]) -> None:
        """Publish the events; a failure is logged and does not undo the change."""
        if self._publish is None:
            return
        # Whoever reads the message is neither who changed the object nor the engineer.
        base = server_url(request.http.scope) + identity_path(NOBODY)
        for event in events:
            for identifier, config in self._store.notifications(event.object.bucket).items():
                if event.kind not in config.get("event_types", [event.kind]):
                    continue
                if not event.object.name.startswith(config.get("object_name_prefix", "")):
                    continue
                resource = resources.object_resource(event.object, base)
                data = json.dumps(resource).encode() if config["payload_format"] == "JSON_API_V1" else b""
                topic = cast("re.Match[str]", _TOPIC.fullmatch(config["topic"]))["topic"]
                try:
                    self._publish(topic, data, resources.event_attributes(event, identifier, config))
                except Exception as error:  # noqa: BLE001  # whatever a publisher raises
                    # The object is stored whatever becomes of its notification.
                    _log.error(  # a refusal needs no traceback
                        "%s of gs://%s/%s#%d could not be published to %s: %s",
                        event.kind,
                        event.object.bucket,
                        event.object.name,
                        event.object.generation,
                        topic,
                        error,
                        exc_info=not isinstance(error, ApiError),
                    )

    def changed(self, request: StorageRequest, changed: Changed) -> StoredObject:
        """Announce a change, and return the object as it is now."""
        self.announce(request, changed.events)
        return changed.object


class NotificationHandlers:
    """Answers requests on notification configs."""

    def __init__(self, store: ObjectStore, gate: Gate) -> None:
        """The configs are kept in `store`."""
        self._store = store
        self._gate = gate

    def list_notifications(self, request: StorageRequest) -> Response:
        """Answer `notifications.list`."""
        bucket = request.name("bucket")
        with passing(self._gate, request.call("storage.buckets.get", bucket=bucket)):
            configs = self._store.notifications(bucket)
        items = [resources.notification_resource(bucket, key, fields, request.base) for key, fields in configs.items()]
        return request.answer({"kind": "storage#notifications", **({"items": items} if items else {})})

    def insert_notification(self, request: StorageRequest) -> Response:
        """Answer `notifications.insert`."""
        bucket = request.name("bucket")
        fields = _notification_fields(request.json())
        with passing(self._gate, request.call("storage.buckets.update", bucket=bucket)):
            identifier, fields = self._store.add_notification(bucket, fields)
        return request.answer(resources.notification_resource(bucket, identifier, fields, request.base))

    def get_notification(self, request: StorageRequest) -> Response:
        """Answer `notifications.get`."""
        bucket, identifier = request.name("bucket"), request.name("notification")
        with passing(self._gate, request.call("storage.buckets.get", bucket=bucket)):
            fields = self._store.notifications(bucket).get(identifier)
            if fields is None:
                raise no_notification(bucket, identifier)
        return request.answer(resources.notification_resource(bucket, identifier, fields, request.base))

    def delete_notification(self, request: StorageRequest) -> Response:
        """Answer `notifications.delete`."""
        bucket = request.name("bucket")
        with passing(self._gate, request.call("storage.buckets.update", bucket=bucket)):
            self._store.delete_notification(bucket, request.name("notification"))
        return Response(status_code=204)


def _notification_fields(body: Fields) -> Fields:
    topic = body.get("topic")
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        raise invalid(f"topic must be //pubsub.googleapis.com/projects/P/topics/T, not {topic!r}")
    fields = {
        key: body[key]
        for key in ("topic", "payload_format", "event_types", "custom_attributes", "object_name_prefix")
        if body.get(key)
    }
    if fields.get("payload_format") not in {"JSON_API_V1", "NONE"}:
        raise invalid(f"payload_format must be JSON_API_V1 or NONE, not {body.get('payload_format')!r}")
    events = fields.get("event_types", [])
    if not isinstance(events, list) or not all(event in sorted(_EVENTS) for event in cast("list[object]", events)):
        raise invalid(f"event_types must be some of {sorted(_EVENTS)}, not {events!r}")
    attributes = fields.get("custom_attributes", {})
    if not isinstance(attributes, dict) or not all(
        isinstance(value, str) for value in cast("Fields", attributes).values()
    ):
        raise invalid(f"custom_attributes must be an object of texts, not {attributes!r}")
    if not isinstance(fields.get("object_name_prefix", ""), str):
        raise invalid(f"object_name_prefix must be text, not {fields['object_name_prefix']!r}")
    return fields
