"""Buckets and their notification configs in the index; no protocol."""

import json
import time
from collections.abc import Callable
from dataclasses import replace

from inspection.names import MAX_BUCKET_NAME_LENGTH, is_bucket_name, is_like_google
from local.google.storage.index import Index, name_range, read_bucket, successor
from local.google.storage.records import (
    ALWAYS,
    MAX_PAGE,
    Bucket,
    Fields,
    Preconditions,
    StorageError,
    invalid,
    no_notification,
)


class BucketStore:
    """Buckets and their notification configs. Every method may be called from any thread."""

    def __init__(self, index: Index) -> None:
        """The buckets are rows of `index`."""
        self._index = index

    def create_bucket(self, name: str, fields: Fields) -> Bucket:
        """Create a bucket.

        Raises:
            StorageError: 400 for a name that cannot be, 409 if the bucket exists.
        """
        if not is_bucket_name(name) or len(name) > MAX_BUCKET_NAME_LENGTH or is_like_google(name):
            raise invalid(
                f"Invalid bucket name: '{name}': 3 to 63 lower-case letters, digits, '-', '_' or '.', beginning and "
                "ending with a letter or digit, not beginning with 'goog' and without 'google'"
            )
        created = now()
        with self._index.transaction() as index:
            row = index.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchone()
            if row is not None:
                raise StorageError(
                    409,
                    "conflict",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                )
            bucket = Bucket(name=name, metageneration=1, created=created, updated=created, fields=fields)
            self._index.put_bucket(bucket)
        return bucket

    def bucket(self, name: str, preconditions: Preconditions = ALWAYS) -> Bucket:
        """One bucket.

        Raises:
            StorageError: 404, 412 or 304.
        """
        with self._index.lock:
            bucket = self._index.bucket(name)
        preconditions.check(1, bucket.metageneration, reading=True)
        return bucket

    def buckets(self, *, prefix: str = "", start: str = "", limit: int = MAX_PAGE) -> tuple[list[Bucket], str | None]:
        """Buckets by name, and the name from which the next page goes on."""
        condition, values = name_range(max(prefix, start), successor(prefix))
        with self._index.lock:
            rows = self._index.connection.execute(
                f"SELECT * FROM buckets WHERE {condition} ORDER BY name LIMIT ?",  # noqa: S608  # our own text
                (*values, limit + 1),
            ).fetchall()
        found = [read_bucket(row) for row in rows]
        return found[:limit], found[limit].name if len(found) > limit else None

    def update_bucket(self, name: str, change: Callable[[Fields], Fields], preconditions: Preconditions) -> Bucket:
        """Replace a bucket's fields by what `change` makes of them.

        Raises:
            StorageError: 404 or 412.
        """
        with self._index.transaction():
            bucket = self._index.bucket(name)
            preconditions.check(1, bucket.metageneration)
            bucket = replace(
                bucket, metageneration=bucket.metageneration + 1, updated=now(), fields=change(bucket.fields)
            )
            self._index.put_bucket(bucket)
        return bucket

    def delete_bucket(self, name: str, preconditions: Preconditions = ALWAYS) -> None:
        """Delete an empty bucket with its notification configs.

        Raises:
            StorageError: 404, 412, or 409 if it is not empty.
        """
        with self._index.transaction() as index:
            preconditions.check(1, self._index.bucket(name).metageneration)
            if index.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (name,)).fetchone() is not None:
                raise StorageError(409, "conflict", "The bucket you tried to delete is not empty.")
            index.execute("DELETE FROM notifications WHERE bucket = ?", (name,))
            index.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def add_notification(self, bucket: str, fields: Fields) -> tuple[str, Fields]:
        """Add a notification config and return it with its id.

        Raises:
            StorageError: 404 for the bucket.
        """
        with self._index.transaction() as index:
            self._index.require_bucket(bucket)
            (last,) = index.execute("SELECT max(id) FROM notifications WHERE bucket = ?", (bucket,)).fetchone()
            identifier: int = (last or 0) + 1
            index.execute("INSERT INTO notifications VALUES (?, ?, ?)", (bucket, identifier, json.dumps(fields)))
        return str(identifier), fields

    def notifications(self, bucket: str) -> dict[str, Fields]:
        """A bucket's notification configs by id.

        Raises:
            StorageError: 404 for the bucket.
        """
        with self._index.lock:
            self._index.require_bucket(bucket)
            rows = self._index.connection.execute(
                "SELECT id, fields FROM notifications WHERE bucket = ? ORDER BY id", (bucket,)
            ).fetchall()
        return {str(identifier): json.loads(fields) for identifier, fields in rows}

    def delete_notification(self, bucket: str, identifier: str) -> None:
        """Delete a notification config.

        Raises:
            StorageError: 404.
        """
        with self._index.transaction() as index:
            self._index.require_bucket(bucket)
            gone = index.execute("DELETE FROM notifications WHERE bucket = ? AND id = ?", (bucket, identifier))
            if gone.rowcount == 0:
                raise no_notification(bucket, identifier)


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
