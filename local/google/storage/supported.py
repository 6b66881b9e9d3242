"""What this Cloud Storage does not do, refused by its name: nothing is accepted that has no effect here.

A setting that says "off" is no request for the feature. The answer is 400, which no client takes for a fault that passes.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from local.google.storage.records import WRITABLE_FIELDS, Fields, StorageError, invalid

_BUCKET_SETTINGS: Final = frozenset({"iamConfiguration", "labels", "location", "locationType", "storageClass"})
_BUCKET_OUTPUT: Final = frozenset(
    {
        "etag", "generation", "id", "kind", "metageneration", "name", "projectNumber", "satisfiesPZI", "satisfiesPZS",
        "selfLink", "timeCreated", "updated",
    }
)  # fmt: skip
_OBJECT_OUTPUT: Final = frozenset(
    {
        "bucket", "componentCount", "crc32c", "etag", "generation", "id", "kind", "md5Hash", "mediaLink",
        "metageneration", "name", "selfLink", "size", "timeCreated", "timeFinalized", "timeStorageClassUpdated",
        "updated",
    }
)  # fmt: skip
_FEATURES: Final = {
    "acl": "access control lists",
    "autoclass": "Autoclass",
    "billing": "requester pays",
    "contexts": "object contexts",
    "cors": "cross-origin resource sharing",
    "customPlacementConfig": "dual-regions of one's own",
    "customerEncryption": "customer-supplied encryption keys",
    "defaultEventBasedHold": "holds",
    "defaultObjectAcl": "access control lists",
    "encryption": "encryption settings",
    "eventBasedHold": "holds",
    "hierarchicalNamespace": "hierarchical namespace",
    "ipFilter": "IP filtering",
    "kmsKeyName": "customer-managed encryption keys",
    "lifecycle": "lifecycle rules",
    "logging": "usage logs",
    "objectRetention": "retention",
    "retention": "retention",
    "retentionPolicy": "retention policies",
    "rpo": "turbo replication",
    "softDeletePolicy": "soft deletion",
    "temporaryHold": "holds",
    "versioning": "object versioning",
    "website": "websites",
}
_OFF: Final = (None, False, 0, "", "0", "DEFAULT")
_BUCKET_ACLS: Final = frozenset({"predefinedAcl", "predefinedDefaultObjectAcl"})
_OWNERS_ONLY: Final = ("bucketOwnerFullControl", "bucketOwnerRead", "private", "projectPrivate")
_STORAGE_CLASSES: Final = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")

_PARAMETERS: Final = {
    "destinationKmsKeyName": "customer-managed encryption keys",
    "destinationPredefinedAcl": "access control lists",
    "enableObjectRetention": "retention",
    "kmsKeyName": "customer-managed encryption keys",
    "overrideUnlockedRetention": "retention",
    "predefinedAcl": "access control lists",
    "predefinedDefaultObjectAcl": "access control lists",
    "softDeleted": "soft deletion",
    "userProject": "requester pays",
}
_HEADERS: Final = (
    ("x-goog-user-project", "requester pays"),
    ("x-goog-encryption-", "customer-supplied encryption keys"),
    ("x-goog-copy-source-encryption-", "customer-supplied encryption keys"),
)

ROUTES: Final = {
    "/b/{bucket}/acl{rest:path}": "access control lists",
    "/b/{bucket}/defaultObjectAcl{rest:path}": "access control lists",
    "/b/{bucket}/o/{object}/acl{rest:path}": "access control lists",
    "/b/{bucket}/o/{object}/restore": "soft deletion",
    "/b/{bucket}/o/bulkRestore": "soft deletion",
    "/b/{bucket}/restore": "soft deletion",
    "/b/{bucket}/lockRetentionPolicy": "retention policies",
    "/b/{bucket}/folders{rest:path}": "hierarchical namespace",
    "/b/{bucket}/managedFolders{rest:path}": "managed folders",
    "/b/{bucket}/anywhereCaches{rest:path}": "Anywhere Cache",
    "/b/{bucket}/o/watch": "object change notification (use a notification config)",
    "/b/{bucket}/iam": "changing IAM policies (they are the program's bindings)",
    "/b/{bucket}/iam/testPermissions": "testing IAM permissions",
    "/projects/{project}/hmacKeys{rest:path}": "HMAC keys",
    "/projects/{project}/serviceAccount": "the project's service agent",
}
"""Of the JSON API, below `/storage/v1`, by what they are for; those that are answered stand before them."""


def unsupported(feature: str, where: str) -> StorageError:
    """400: `where` of the request asks for what this storage does not do."""
    message = f"The local Cloud Storage does not do {feature}: {where} is refused."
    return StorageError(400, "notImplemented", message)


def check_parameters(query: Mapping[str, str], headers: Mapping[str, str], *, new_bucket: bool = False) -> None:
    """Refuse a request whose parameters or headers ask for what is not done here.

    A new bucket's access lists may say what is so in any case: that the project's own people alone have access.

    Raises:
        StorageError: 400; the message names the feature and the parameter.
    """
    for name, feature in _PARAMETERS.items():
        given = query.get(name, "")
        if new_bucket and name in _BUCKET_ACLS and given in _OWNERS_ONLY:
            continue
        if given.lower() not in {"", "false"}:
            raise unsupported(feature, f"the parameter {name}")
    for name in headers:
        for prefix, feature in _HEADERS:
            if name.lower().startswith(prefix):
                raise unsupported(feature, f"the header {name}")


def bucket_fields(fields: Fields) -> Fields:
    """What a bucket's resource keeps of a request: the settings alone.

    Raises:
        StorageError: 400; the message names the setting.
    """
    _refuse(fields, allowed=_BUCKET_SETTINGS | _BUCKET_OUTPUT, of="bucket")
    kept = {key: value for key, value in fields.items() if key not in _BUCKET_OUTPUT}
    access = kept.get("iamConfiguration") or {}
    if not isinstance(access, dict):
        raise invalid(f"iamConfiguration must be an object, not {access!r}")
    prevention = access.get("publicAccessPrevention")  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    if prevention not in (None, "enforced", "inherited", "unspecified"):
        raise invalid(f"iamConfiguration.publicAccessPrevention must be enforced or inherited, not {prevention!r}")
    _check_storage_class(kept)
    return {"location": "US", **kept}


def check_object_fields(fields: Fields) -> None:
    """Refuse an object's resource that asks for what is not done here.

    Raises:
        StorageError: 400; the message names the field.
    """
    _refuse(fields, allowed={*WRITABLE_FIELDS, *_OBJECT_OUTPUT}, of="object")
    _check_storage_class(fields)
    if (time := fields.get("customTime")) is not None:
        _time(time)


def check_custom_time(before: Fields, after: Fields) -> None:
    """Once set it can neither be removed nor be set earlier (https://cloud.google.com/storage/docs/metadata#custom-time).

    Raises:
        StorageError: 400.
    """
    if (old := before.get("customTime")) is None:
        return
    new = after.get("customTime")
    if new is None or _time(new) < _time(old):
        raise invalid(f"customTime is {old!r}: it cannot be removed or set earlier, as to {new!r}")


def _refuse(fields: Fields, *, allowed: Iterable[str], of: str) -> None:
    for key, value in fields.items():
        if key in allowed or _is_off(value):
            continue
        feature = _FEATURES.get(key, f"{key!r} of {'an' if of == 'object' else 'a'} {of}")
        raise unsupported(feature, f"the {of}'s field {key}")


def _is_off(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_off(inner) for inner in value.values())  # pyright: ignore[reportUnknownVariableType]
    return value in _OFF or value == []


def _check_storage_class(fields: Fields) -> None:
    if (given := fields.get("storageClass")) not in (None, *_STORAGE_CLASSES):
        raise invalid(f"storageClass must be one of {', '.join(_STORAGE_CLASSES)}, not {given!r}")


def _time(text: object) -> datetime:
    if isinstance(text, str) and re.fullmatch(r"\d{4}-\d\d-\d\d[Tt][\d:.]+([Zz]|[+-]\d\d:\d\d)", text):
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError:
            pass
    raise invalid(f"customTime must be a time as in 2026-11-26T08:30:00Z, not {text!r}")
