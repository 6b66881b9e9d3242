"""The JSON that the API sends: resources of buckets, objects and notification configs, and parts of them."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from local.google.storage.records import Bucket, Event, Fields, StoredObject, invalid

Resource = dict[str, Any]

PROJECT_NUMBER: Final = "0"
"""Of every bucket: the local cloud knows no projects."""


def timestamp(microseconds: int) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:03d}Z"


def etag(*versions: int) -> str:
    """Changes whenever one of the versions does."""
    return base64.b64encode("/".join(map(str, versions)).encode()).decode()


def bucket_resource(bucket: Bucket, base: str) -> Resource:
    """https://cloud.google.com/storage/docs/json_api/v1/buckets#resource."""
    # https://cloud.google.com/storage/docs/locations
    several = str(bucket.fields["location"]).upper() in {"ASIA", "EU", "US"}
    return {
        **({"locationType": "multi-region", "rpo": "DEFAULT"} if several else {"locationType": "region"}),
        "storageClass": "STANDARD",
        **bucket.fields,
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"{base}/storage/v1/b/{bucket.name}",
        "projectNumber": PROJECT_NUMBER,
        "metageneration": str(bucket.metageneration),
        "etag": etag(bucket.metageneration),
        "timeCreated": timestamp(bucket.created),
        "updated": timestamp(bucket.updated),
    }


def object_resource(stored: StoredObject, base: str) -> Resource:
    """https://cloud.google.com/storage/docs/json_api/v1/objects#resource."""
    path = f"storage/v1/b/{stored.bucket}/o/{quote(stored.name, safe='~')}"
    resource: Resource = {
        "storageClass": "STANDARD",
        **stored.fields,
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "selfLink": f"{base}/{path}",
        "mediaLink": f"{base}/download/{path}?generation={stored.generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": str(stored.metageneration),
        "size": str(stored.size),
        "crc32c": stored.crc32c,
        "etag": etag(stored.generation, stored.metageneration),
        "timeCreated": timestamp(stored.created),
        "updated": timestamp(stored.updated),
        "timeStorageClassUpdated": timestamp(stored.created),
        "timeFinalized": timestamp(stored.created),
    }
    if stored.md5 is not None:
        resource["md5Hash"] = stored.md5
    if stored.components is not None:
        resource["componentCount"] = stored.components
    return resource


def notification_resource(bucket: str, identifier: str, fields: Fields, base: str) -> Resource:
    """https://cloud.google.com/storage/docs/json_api/v1/notifications#resource."""
    return {
        **fields,
        "kind": "storage#notification",
        "id": identifier,
        "etag": identifier,
        "selfLink": f"{base}/storage/v1/b/{bucket}/notificationConfigs/{identifier}",
    }


def event_attributes(event: Event, identifier: str, config: Fields) -> dict[str, str]:
    """The attributes of a message (https://cloud.google.com/storage/docs/pubsub-notifications#attributes)."""
    attributes = {
        **config.get("custom_attributes", {}),
        "notificationConfig": f"projects/_/buckets/{event.object.bucket}/notificationConfigs/{identifier}",
        "eventType": event.kind,
        "payloadFormat": config["payload_format"],
        "bucketId": event.object.bucket,
        "objectId": event.object.name,
        "objectGeneration": str(event.object.generation),
        "eventTime": timestamp(event.object.updated),
    }
    if event.overwrote is not None:
        attributes["overwroteGeneration"] = str(event.overwrote)
    if event.overwritten_by is not None:
        attributes["overwrittenByGeneration"] = str(event.overwritten_by)
    return attributes


_TOKEN = re.compile(r"[\w*-]+|[(),/]")


def partial_response(resource: Resource, fields: str) -> Resource:
    """What `fields` selects of a resource, as in `items(name,metadata/label),nextPageToken`.

    https://cloud.google.com/storage/docs/json_api#partial-response. Fields that the resource lacks are left out.

    Raises:
        StorageError: 400, the selection cannot be read.
    """
    tokens = _TOKEN.findall(fields)
    if "".join(tokens) != fields.replace(" ", ""):
        raise invalid(f"Invalid field selection {fields!r}")
    try:
        selection = _selection(tokens)
    except IndexError:
        selection = {}
    if tokens or not selection:
        raise invalid(f"Invalid field selection {fields!r}")
    return _select(resource, selection)


def _selection(tokens: list[str]) -> dict[str, Any]:
    """The fields as a tree; an empty branch selects everything below. What was read is taken off `tokens`."""
    selected: dict[str, Any] = {}
    while True:
        branch = selected
        while True:
            name = tokens.pop(0)
            below: dict[str, Any] = branch.setdefault(name, {})
            if not tokens or tokens[0] != "/":
                break
            tokens.pop(0)
            branch = below
        if tokens and tokens[0] == "(":
            tokens.pop(0)
            below.update(_selection(tokens))
            if tokens.pop(0) != ")":
                raise IndexError
        if not tokens or tokens[0] != ",":
            return selected
        tokens.pop(0)


def _select(value: Any, selection: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON
    if not selection or ("*" in selection and not selection["*"]):
        return value
    if isinstance(value, list):
        return [_select(item, selection) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    chosen: Resource = {}
    for key, below in value.items():  # pyright: ignore[reportUnknownVariableType]
        branch = selection.get(str(key), selection.get("*"))  # pyright: ignore[reportUnknownArgumentType]
        if branch is not None:
            chosen[str(key)] = _select(below, branch)  # pyright: ignore[reportUnknownArgumentType]
    return chosen
