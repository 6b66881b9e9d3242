"""The requests of the review app to its bucket, each with the preconditions that make it safe to send twice."""

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from google.api_core.exceptions import ClientError, Forbidden, PreconditionFailed
from google.cloud.storage import Blob, Bucket
from google.cloud.storage.retry import DEFAULT_RETRY

from inspection import layout
from inspection.labels import UNCLEAR
from inspection.logs import structured_logger
from webapp import picture
from webapp.picture import PictureId, StoredPicture

PAGE_SIZE = 100

_TIMEOUT = 10
"""Seconds, for one try."""

_RETRY = DEFAULT_RETRY.with_timeout(20)
"""Safe for every request of this module: each change carries a precondition, so its second try changes nothing."""

_TOO_LARGE = (400, 413)
"""Statuses with which Cloud Storage may refuse metadata beyond its limit: its JSON API documents neither."""

_FILED_KEYS = frozenset({layout.PREDICTION_LABEL, layout.PREDICTION_SCORE, layout.MODEL, layout.SOURCE, layout.ERROR})

_log = structured_logger("review")


class RetainedError(Exception):
    """A retention policy or a hold keeps the object where it is; the text is Cloud Storage's."""


class PictureStore:
    """The pictures of one prediction bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def page(self, after: str) -> tuple[list[StoredPicture], str | None]:
        """The next pictures of the queue, by name, and the name after which to go on; None at the end."""
        # The offset is inclusive: one more, and the one that it names is left out.
        found = list(
            self._bucket.list_blobs(
                prefix=f"{UNCLEAR}/",
                start_offset=after or None,
                max_results=PAGE_SIZE + 1,
                fields="items(name,generation,metageneration,metadata),nextPageToken",
                timeout=_TIMEOUT,
                retry=_RETRY,
            )
        )
        page = [_stored(blob) for blob in found if picture.is_queued(_name(blob)) and _name(blob) != after]
        return page, _name(found[-1]) if len(found) > PAGE_SIZE else None

    def read(self, target: PictureId) -> StoredPicture | None:
        """The picture as it is now, while it is in the queue and not replaced."""
        stored = self.get(target.name)
        return stored if stored and stored.generation == target.generation else None

    def get(self, name: str) -> StoredPicture | None:
        """The object of this name as it is now."""
        blob = self._bucket.get_blob(name, timeout=_TIMEOUT, retry=_RETRY)
        return None if blob is None else _stored(blob)

    def patch(self, target: PictureId, metageneration: int, changes: Mapping[str, str | None]) -> StoredPicture:
        """Change metadata; None removes a key, and keys that are not named stay.

        Where Cloud Storage's limit leaves no room for the change, entries that the review app does not need give way:
        an image that was filed by hand, or before move left room, must be decidable too.

        Raises:
            NotFound, PreconditionFailed: the picture is gone, or has changed.
            ClientError: Cloud Storage refuses the change.
        """
        try:
            return self._patch(target, metageneration, changes)
        except ClientError as error:
            found = self.read(target) if error.code in _TOO_LARGE else None
            left_out = {} if found is None else entries_to_leave_out(found.metadata, changes)
            if not left_out:
                raise
        patched = self._patch(target, metageneration, {**dict.fromkeys(left_out), **changes})
        _log.warning(
            "metadata left out: there was no room for the review's own",
            extra={"fields": {"outcome": "metadata left out", "image": str(target), "left_out": left_out}},
        )
        return patched

    def _patch(self, target: PictureId, metageneration: int, changes: Mapping[str, str | None]) -> StoredPicture:
        blob = self._bucket.blob(target.name, generation=target.generation)
        blob.metadata = dict(changes)
        blob.patch(if_metageneration_match=metageneration, timeout=_TIMEOUT, retry=_RETRY)
        return _stored(blob)

    def move(self, stored: StoredPicture, name: str) -> StoredPicture:
        """Give the object another name, which must be free; what was stored must not have changed.

        Raises:
            NotFound, PreconditionFailed: it has, or the name is taken.
            RetainedError: Cloud Storage keeps the object where it is.
        """
        try:
            moved = self._bucket.move_blob(
                self._bucket.blob(stored.name),
                name,
                if_generation_match=0,
                if_source_generation_match=stored.generation,
                if_source_metageneration_match=stored.metageneration,
                timeout=_TIMEOUT,
                retry=_RETRY,  # pyright: ignore[reportArgumentType]  # the client takes both
            )
        except Forbidden as error:
            if _is_retention(error):
                raise RetainedError(error.message) from error
            raise
        return _stored(moved)

    def find_filed(self, target: PictureId, labels: Iterable[str], first: str | None = None) -> StoredPicture | None:
        """The picture in `human_decided/`, or None; one request for each name that it can have, from the label `first` on."""
        for label in sorted(labels, key=lambda label: label != first):
            for name in filed_names(target, label):
                stored = self.get(name)
                if stored and stored.metadata.get(picture.DECIDED_FROM) == str(target):
                    return stored
        return None

    def move_back(self, filed: StoredPicture, target: PictureId) -> StoredPicture:
        """Move a filed picture back to the queue.

        Raises:
            NotFound, PreconditionFailed: it has changed, or both of its names are taken.
            RetainedError: Cloud Storage keeps the object where it is.
        """
        try:
            return self.move(filed, target.name)
        except PreconditionFailed:
            _, other_name = _names(target)
            return self.move(filed, other_name)  # a new picture has come under the old name

    def find_returned(self, target: PictureId) -> StoredPicture | None:
        """The picture in the queue, after it was moved back; None where it is in neither place."""
        for name in _names(target):
            stored = self.get(name)
            if stored and stored.metadata.get(picture.DECIDED_FROM) == str(target):
                return stored
        return None


def _names(target: PictureId) -> tuple[str, str]:
    """The name in the queue, and the one for a picture whose name has been taken."""
    name = target.name.removeprefix(f"{UNCLEAR}/")
    return target.name, layout.folder_name(UNCLEAR, layout.renamed(name, target.source_generation))


def filed_names(target: PictureId, label: str) -> Generator[str]:
    """The names under which a decision can file the picture, in their order."""
    name = target.name.removeprefix(f"{UNCLEAR}/")
    yield from layout.decided_names(label, name, target.source_generation)


def entries_to_leave_out(metadata: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The entries without which the metadata has room for all that the review app writes.

    The camera's own go first, the largest before the others; then what move filed. Empty where there is room.
    """

    def is_reserved(key: str, value: str) -> bool:
        return key in changes or len(value.encode()) <= layout.REVIEW_METADATA.get(key, -1)

    others = [(key, value) for key, value in metadata.items() if not is_reserved(key, value)]
    excess = sum(map(layout.metadata_bytes, others)) + layout.REVIEW_RESERVE_BYTES - layout.MAX_METADATA_BYTES
    left_out: dict[str, str] = {}
    for entry in sorted(others, key=lambda entry: (entry[0] in _FILED_KEYS, -layout.metadata_bytes(entry))):
        if excess <= 0:
            break
        left_out[entry[0]] = entry[1]
        excess -= layout.metadata_bytes(entry)
    return left_out


def _is_retention(error: Forbidden) -> bool:
    """Whether Cloud Storage keeps the object, rather than that a permission is missing: both are 403.

    For a hold the documented reason is `objectUnderActiveHold`, the one that is sent `forbidden` with this message
    (https://cloud.google.com/storage/docs/json_api/v1/status-codes#403-forbidden).
    """
    reasons = {detail.get("reason") for detail in error.errors if isinstance(detail, dict)}
    held = "is under active" in error.message and "hold" in error.message
    return held or bool(reasons & {"retentionPolicyNotMet", "objectUnderActiveHold"})


def _stored(blob: Blob) -> StoredPicture:
    metadata: dict[str, Any] = blob.metadata or {}
    return StoredPicture(
        name=_name(blob),
        generation=int(blob.generation or 0),
        metageneration=int(blob.metageneration or 0),
        metadata={key: str(value) for key, value in metadata.items() if value is not None},
    )


def _name(blob: Blob) -> str:
    return str(blob.name)
