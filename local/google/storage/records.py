"""What the local Cloud Storage keeps: buckets, objects and events, with the rules for names, fields and preconditions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from local.google.gate import ApiError

Fields = dict[str, Any]
MAX_NAME_BYTES: Final = 1024
MAX_METADATA_BYTES: Final = 8 * 1024
MAX_PAGE: Final = 1000
WRITABLE_FIELDS: Final = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
    "storageClass",
)
"""Of an object's resource, what its owner sets; the rest of a request's body is ignored, as by Google."""


class StorageError(ApiError):
    """An answer of Cloud Storage that is an error."""


def invalid(message: str) -> StorageError:
    """400: the request can never succeed."""
    return StorageError(400, "invalid", message)


def condition_not_met() -> StorageError:
    """412."""
    return StorageError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


def no_notification(bucket: str, identifier: str) -> StorageError:
    """404 for a notification config."""
    return StorageError(404, "notFound", f"Bucket {bucket} has no notification config {identifier}.")


@dataclass(frozen=True, kw_only=True)
class Preconditions:
    """What must hold of an object, or of a bucket's metageneration, for a request to take effect.

    https://cloud.google.com/storage/docs/request-preconditions. Generation 0 stands for "does not exist".
    """

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, generation: int, metageneration: int | None, *, reading: bool = False) -> None:
        """Compare with what there is.

        Raises:
            StorageError: 412 if a condition does not hold; 304 if one of the "not match" kind does not hold for a
                request that only reads.
        """
        if self.generation_match not in {None, generation} or self.metageneration_match not in {None, metageneration}:
            raise condition_not_met()
        if self.generation_not_match == generation or (
            metageneration is not None and self.metageneration_not_match == metageneration
        ):
            raise StorageError(304, "notModified", "Not Modified") if reading else condition_not_met()


ALWAYS: Final = Preconditions()


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket; times in microseconds since 1970."""

    name: str
    metageneration: int
    created: int
    updated: int
    fields: Fields


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One generation of an object; times in microseconds since 1970, checksums in base64 as Google writes them."""

    bucket: str
    name: str
    generation: int
    metageneration: int
    content: str
    size: int
    crc32c: str
    md5: str | None
    """None for a composed object."""
    components: int | None
    created: int
    updated: int
    fields: Fields


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to an object, in the words of Pub/Sub notifications."""

    kind: str
    object: StoredObject
    overwrote: int | None = None
    overwritten_by: int | None = None


@dataclass(frozen=True, kw_only=True)
class Changed:
    """The object as it is after a request, and what there is to announce."""

    object: StoredObject
    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a listing; `next_start` is the name from which the next page goes on, None after the last."""

    objects: list[StoredObject]
    prefixes: list[str]
    next_start: str | None


@dataclass(frozen=True, kw_only=True)
class ComposeSource:
    """One of the objects that are put together."""

    name: str
    generation: int | None = None
    preconditions: Preconditions = field(default=ALWAYS)


def check_name(name: str) -> None:
    """Refuse what cannot name an object (https://cloud.google.com/storage/docs/objects#naming).

    Raises:
        StorageError: 400.
    """
    length = len(name.encode())
    if not name:
        raise StorageError(400, "required", "Required: the object's name is empty.")
    if length > MAX_NAME_BYTES:
        raise invalid(f"The object's name has {length} bytes in UTF-8; the maximum is {MAX_NAME_BYTES}: {name[:80]!r}…")
    if "\r" in name or "\n" in name or name in {".", ".."} or name.startswith(".well-known/acme-challenge/"):
        raise invalid(
            f"Disallowed object name {name!r}: no carriage return or line feed, not '.' or '..', "
            "not beginning with '.well-known/acme-challenge/'"
        )


def check_destination(preconditions: Preconditions, current: StoredObject | None) -> None:
    """Compare the preconditions with the object that a request replaces (None: none).

    Raises:
        StorageError: 412.
    """
    if current is None:
        preconditions.check(0, None)
    else:
        preconditions.check(current.generation, current.metageneration)


def checked_fields(fields: Fields) -> Fields:
    """The writable fields alone, each of a type that can be stored and sent again as a header."""
    kept: Fields = {key: fields[key] for key in WRITABLE_FIELDS if fields.get(key) is not None}
    metadata = kept.get("metadata", {})
    if not isinstance(metadata, Mapping) or not all(isinstance(value, str) for value in metadata.values()):
        raise invalid(f"metadata must be an object of texts, not {json.dumps(metadata)[:100]}")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise invalid(f"The object's custom metadata has {size} bytes; the maximum is {MAX_METADATA_BYTES}.")
    for key, value in kept.items():
        if key != "metadata" and (not isinstance(value, str) or not _is_printable(value)):
            raise invalid(f"{key} must be text without control characters, not {value!r}")
    if not metadata:
        kept.pop("metadata", None)
    return kept


def _is_printable(text: str) -> bool:
    return all(character >= " " and character != "\x7f" for character in text)
