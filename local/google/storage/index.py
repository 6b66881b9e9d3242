"""The index of buckets and objects: a SQLite database.

SQLite compares text by its UTF-8 bytes, which is Cloud Storage's order of names.
"""

import json
import re
import sqlite3
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.google.storage.records import Bucket, Page, StorageError, StoredObject

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, metageneration INTEGER, created INTEGER, updated INTEGER, fields TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notifications (
    bucket TEXT, id INTEGER, fields TEXT, PRIMARY KEY (bucket, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT, name TEXT, generation INTEGER, metageneration INTEGER, content TEXT, size INTEGER, crc32c TEXT, md5 TEXT,
    components INTEGER, created INTEGER, updated INTEGER, fields TEXT, PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_content ON objects (content);
"""


class Index:
    """The SQLite database of buckets, notification configs and objects.

    Every method but :meth:`close` expects that the caller holds `lock` or is inside :meth:`transaction`.
    """

    def __init__(self, file: Path) -> None:
        """Open the database in `file`, which is created if it does not exist."""
        self.lock = threading.RLock()
        self.connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self.connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_SCHEMA}")

    def close(self) -> None:
        """Close the database; it cannot be used after."""
        with self.lock:
            self.connection.close()

    def latest_generation(self) -> int:
        """The largest generation of an object; 0 without one."""
        latest: int | None = self.connection.execute("SELECT max(generation) FROM objects").fetchone()[0]
        return latest or 0

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Hold the lock, and commit at the end of the block or roll back if it fails."""
        with self.lock:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise

    def bucket(self, name: str) -> Bucket:
        """A bucket.

        Raises:
            StorageError: 404.
        """
        row = self.connection.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise StorageError(404, "notFound", "The specified bucket does not exist.")
        return read_bucket(row)

    def require_bucket(self, name: str) -> None:
        """Check that a bucket exists.

        Raises:
            StorageError: 404.
        """
        if self.connection.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchone() is None:
            raise StorageError(404, "notFound", "The specified bucket does not exist.")

    def put_bucket(self, bucket: Bucket) -> None:
        """Write a bucket."""
        self.connection.execute(
            "INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)",
            (bucket.name, bucket.metageneration, bucket.created, bucket.updated, json.dumps(bucket.fields)),
        )

    def list_run(
        self,
        bucket: str,
        position: str,
        stop: str | None,
        page: Page,
        how: tuple[str, str, bool, int, re.Pattern[str] | None, int | None],
    ) -> tuple[str | None, int]:
        """List objects onto the page until it is full or a prefix has been met.

        Where to go on, None at the end, and how many names were looked at.
        """
        prefix, delimiter, include_trailing_delimiter, limit, matching, look_at = how
        condition, values = name_range(position, stop)
        rows = self.connection.execute(
            f"SELECT * FROM objects WHERE bucket = ? AND {condition} ORDER BY name",  # noqa: S608  # our own text
            (bucket, *values),
        )
        seen = 0
        for seen, row in enumerate(rows, start=1):
            name: str = row[1]
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            shown = name[: cut + len(delimiter)] if cut >= 0 else name
            if matching is None or matching.fullmatch(shown):
                if cut >= 0:
                    page.prefixes.append(shown)
                if cut < 0 or (include_trailing_delimiter and name == shown):
                    page.objects.append(_read_object(row))
            if cut >= 0:
                return successor(shown), seen
            if len(page.objects) + len(page.prefixes) >= limit or seen == look_at:
                return name + "\0", seen  # the very next name there can be
        return None, seen

    def first_name(self, bucket: str, start: str, stop: str | None) -> str | None:
        """The first name from `start` on and before `stop`."""
        condition, values = name_range(start, stop)
        row = self.connection.execute(
            f"SELECT name FROM objects WHERE bucket = ? AND {condition} ORDER BY name LIMIT 1",  # noqa: S608
            (bucket, *values),
        ).fetchone()
        return None if row is None else row[0]

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """An object; None if it does not exist."""
        row = self.connection.execute("SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name)).fetchone()
        return None if row is None else _read_object(row)

    def existing(self, bucket: str, name: str, generation: int | None) -> StoredObject:
        """An object of that generation (None: any).

        Raises:
            StorageError: 404 for the bucket or the object.
        """
        found = self.find(bucket, name)
        if found is None:
            self.require_bucket(bucket)
        if found is None or generation not in {None, found.generation}:
            raise StorageError(404, "notFound", f"No such object: {bucket}/{name}")
        return found

    def put(self, new: StoredObject) -> None:
        """Write an object."""
        self.connection.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.bucket,
                new.name,
                new.generation,
                new.metageneration,
                new.content,
                new.size,
                new.crc32c,
                new.md5,
                new.components,
                new.created,
                new.updated,
                json.dumps(new.fields),
            ),
        )

    def remove(self, found: StoredObject) -> None:
        """Delete an object's row."""
        self.connection.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (found.bucket, found.name))


def successor(prefix: str) -> str | None:
    """The first text after everything that begins with `prefix`; None if there is none."""
    for index in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[index]) + 1
        if code == 0xD800:  # noqa: PLR2004  # the surrogates are no characters
            code = 0xE000
        if code <= 0x10FFFF:  # noqa: PLR2004  # the last code point
            return prefix[:index] + chr(code)
    return None


def name_range(start: str, stop: str | None) -> tuple[str, Iterable[str]]:
    """An SQL condition, and its values, for names from `start` on and before `stop`."""
    return ("name >= ?", (start,)) if stop is None else ("name >= ? AND name < ?", (start, stop))


def read_bucket(row: Sequence[Any]) -> Bucket:
    """A bucket from its row."""
    name, metageneration, created, updated, fields = row
    return Bucket(name=name, metageneration=metageneration, created=created, updated=updated, fields=json.loads(fields))


def _read_object(row: Sequence[Any]) -> StoredObject:
    *known, fields = row
    (bucket, name, generation, metageneration, content, size, crc32c, md5, components, created, updated) = known
    return StoredObject(
        bucket=bucket,
        name=name,
        generation=generation,
        metageneration=metageneration,
        content=content,
        size=size,
        crc32c=crc32c,
        md5=md5,
        components=components,
        created=created,
        updated=updated,
        fields=json.loads(fields),
    )
