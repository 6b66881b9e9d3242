"""Buckets and objects on disk: generations, metagenerations and preconditions, without any protocol.

The index is a SQLite database; the contents lie beside it, one file for each upload, under a random name that an object
refers to. A content never changes and becomes visible only by the transaction that refers to it, so neither a crash
nor a concurrent reader ever sees half an object; what a crash leaves unreferred is swept away at the next start.
(A power failure can lose the latest contents: nothing waits for the disk.)

SQLite compares text by its UTF-8 bytes, which is Cloud Storage's order of names.
"""

import base64
import hashlib
import json
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import google_crc32c

from inspection.names import MAX_BUCKET_NAME_LENGTH, is_bucket_name, is_like_google
from local.google.gate import ApiError

Fields = dict[str, Any]

MAX_NAME_BYTES: Final = 1024
MAX_METADATA_BYTES: Final = 8 * 1024
MAX_PAGE: Final = 1000
MAX_COMPOSE_SOURCES: Final = 32
_COPY_BLOCK = 1 << 20

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


class StorageError(ApiError):
    """An answer of Cloud Storage that is an error."""


def invalid(message: str) -> StorageError:
    """400: the request can never succeed."""
    return StorageError(400, "invalid", message)


def condition_not_met() -> StorageError:
    """412."""
    return StorageError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


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


class Content:
    """Bytes on their way to the disk; becomes part of an object through :meth:`ObjectStore.insert`."""

    def __init__(self, path: Path) -> None:
        """Nothing has been written yet."""
        self.id = path.name
        self.size = 0
        self._path = path
        self._kept = False
        self._file = path.open("xb", buffering=0)
        self._crc32c = google_crc32c.Checksum()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self._crc32c.update(data)
        self._md5.update(data)
        self.size += len(data)

    @property
    def crc32c(self) -> str:
        """Of what has been written so far, in base64."""
        return base64.b64encode(self._crc32c.digest()).decode()

    @property
    def md5(self) -> str:
        """Of what has been written so far, in base64."""
        return base64.b64encode(self._md5.digest()).decode()

    def close(self) -> None:
        """No more is written."""
        self._file.close()

    def open(self) -> BinaryIO:
        """For reading what has been written so far."""
        return self._path.open("rb", buffering=0)

    def keep(self) -> None:
        """It is part of an object now: discarding it does nothing any more."""
        self._kept = True

    def discard(self) -> None:
        """Take it off the disk, for an upload that comes to nothing."""
        self._file.close()
        if not self._kept:
            self._path.unlink(missing_ok=True)

    def verify(self, *, crc32c: str | None, md5: str | None) -> None:
        """Compare with the checksums that the sender gave.

        Raises:
            StorageError: 400, what arrived is not what was sent.
        """
        for kind, given, computed in (("CRC32C", crc32c, self.crc32c), ("MD5", md5, self.md5)):
            if given is not None and given != computed:
                raise invalid(f'Provided {kind} "{given}" doesn\'t match calculated {kind} "{computed}".')


@dataclass(frozen=True, kw_only=True)
class ComposeSource:
    """One of the objects that are put together."""

    name: str
    generation: int | None = None
    preconditions: Preconditions = field(default=ALWAYS)


class ObjectStore:
    """Everything in one folder. Every method may be called from any thread; none waits for anything but the disk."""

    def __init__(self, folder: Path) -> None:
        """Open the store in `folder`, which is created if need be; one process at a time."""
        self._contents = folder / "contents"
        self._contents.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._index = sqlite3.connect(folder / "index.sqlite", check_same_thread=False, isolation_level=None)
        self._index.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_SCHEMA}")
        latest: int | None = self._index.execute("SELECT max(generation) FROM objects").fetchone()[0]
        self._latest_generation = latest or 0
        self._sweep()

    def close(self) -> None:
        """Close the index; the store cannot be used after."""
        with self._lock:
            self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sweep(self) -> None:
        referred = {content for (content,) in self._index.execute("SELECT content FROM objects")}
        for path in self._contents.iterdir():
            if path.name not in referred:
                path.unlink()

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            self._index.execute("BEGIN IMMEDIATE")
            try:
                yield self._index
                self._index.execute("COMMIT")
            except BaseException:
                self._index.execute("ROLLBACK")
                raise

    # Buckets

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
        now = _now()
        with self._transaction() as index:
            row = index.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchone()
            if row is not None:
                raise StorageError(
                    409,
                    "conflict",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                )
            bucket = Bucket(name=name, metageneration=1, created=now, updated=now, fields=fields)
            self._put_bucket(bucket)
        return bucket

    def bucket(self, name: str, preconditions: Preconditions = ALWAYS) -> Bucket:
        """One bucket.

        Raises:
            StorageError: 404, 412 or 304.
        """
        with self._lock:
            bucket = self._bucket(name)
        preconditions.check(1, bucket.metageneration, reading=True)
        return bucket

    def buckets(self, *, prefix: str = "", start: str = "", limit: int = MAX_PAGE) -> tuple[list[Bucket], str | None]:
        """Buckets by name, and the name from which the next page goes on."""
        condition, values = _name_range(max(prefix, start), successor(prefix))
        with self._lock:
            rows = self._index.execute(
                f"SELECT * FROM buckets WHERE {condition} ORDER BY name LIMIT ?",  # noqa: S608  # our own text
                (*values, limit + 1),
            ).fetchall()
        found = [_read_bucket(row) for row in rows]
        return found[:limit], found[limit].name if len(found) > limit else None

    def update_bucket(self, name: str, change: Callable[[Fields], Fields], preconditions: Preconditions) -> Bucket:
        """Replace a bucket's fields by what `change` makes of them.

        Raises:
            StorageError: 404 or 412.
        """
        with self._transaction():
            bucket = self._bucket(name)
            preconditions.check(1, bucket.metageneration)
            bucket = replace(
                bucket, metageneration=bucket.metageneration + 1, updated=_now(), fields=change(bucket.fields)
            )
            self._put_bucket(bucket)
        return bucket

    def delete_bucket(self, name: str, preconditions: Preconditions = ALWAYS) -> None:
        """Delete an empty bucket with its notification configs.

        Raises:
            StorageError: 404, 412, or 409 if it is not empty.
        """
        with self._transaction() as index:
            preconditions.check(1, self._bucket(name).metageneration)
            if index.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (name,)).fetchone() is not None:
                raise StorageError(409, "conflict", "The bucket you tried to delete is not empty.")
            index.execute("DELETE FROM notifications WHERE bucket = ?", (name,))
            index.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def _bucket(self, name: str) -> Bucket:
        row = self._index.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise StorageError(404, "notFound", "The specified bucket does not exist.")
        return _read_bucket(row)

    def _require_bucket(self, name: str) -> None:
        if self._index.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchone() is None:
            raise StorageError(404, "notFound", "The specified bucket does not exist.")

    def _put_bucket(self, bucket: Bucket) -> None:
        self._index.execute(
            "INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)",
            (bucket.name, bucket.metageneration, bucket.created, bucket.updated, json.dumps(bucket.fields)),
        )

    # Notification configs

    def add_notification(self, bucket: str, fields: Fields) -> tuple[str, Fields]:
        """Add a notification config and return it with its id.

        Raises:
            StorageError: 404 for the bucket.
        """
        with self._transaction() as index:
            self._require_bucket(bucket)
            (last,) = index.execute("SELECT max(id) FROM notifications WHERE bucket = ?", (bucket,)).fetchone()
            identifier: int = (last or 0) + 1
            index.execute("INSERT INTO notifications VALUES (?, ?, ?)", (bucket, identifier, json.dumps(fields)))
        return str(identifier), fields

    def notifications(self, bucket: str) -> dict[str, Fields]:
        """A bucket's notification configs by id.

        Raises:
            StorageError: 404 for the bucket.
        """
        with self._lock:
            self._require_bucket(bucket)
            rows = self._index.execute(
                "SELECT id, fields FROM notifications WHERE bucket = ? ORDER BY id", (bucket,)
            ).fetchall()
        return {str(identifier): json.loads(fields) for identifier, fields in rows}

    def delete_notification(self, bucket: str, identifier: str) -> None:
        """Delete a notification config.

        Raises:
            StorageError: 404.
        """
        with self._transaction() as index:
            self._require_bucket(bucket)
            gone = index.execute("DELETE FROM notifications WHERE bucket = ? AND id = ?", (bucket, identifier))
            if gone.rowcount == 0:
                raise no_notification(bucket, identifier)

    # Objects

    def new_content(self) -> Content:
        """A place for the bytes of an upload."""
        return Content(self._contents / secrets.token_hex(16))

    def exists(self, bucket: str, name: str) -> bool:
        """Whether there is such an object now."""
        with self._lock:
            return self._find(bucket, name) is not None

    def check_insert(self, bucket: str, name: str, preconditions: Preconditions) -> None:
        """Whether an upload could begin now; :meth:`insert` decides.

        Raises:
            StorageError: 400, 404 or 412.
        """
        check_name(name)
        with self._lock:
            self._require_bucket(bucket)
            _check_destination(preconditions, self._find(bucket, name))

    def insert(
        self,
        bucket: str,
        name: str,
        content: Content,
        fields: Fields,
        preconditions: Preconditions = ALWAYS,
        *,
        in_parts: bool = False,
    ) -> Changed:
        """Make an uploaded content the object's new generation. On any error the content is discarded.

        Of one that came `in_parts`, Google knows no MD5.

        Raises:
            StorageError: 400, 404 for the bucket, 412.
        """
        md5 = None if in_parts else content.md5
        return self._insert(bucket, name, content, fields, preconditions, md5=md5, components=None)

    def _insert(
        self,
        bucket: str,
        name: str,
        content: Content,
        fields: Fields,
        preconditions: Preconditions,
        *,
        md5: str | None,
        components: int | None,
    ) -> Changed:
        content.close()
        try:
            check_name(name)
            fields = _checked_fields(fields)
            with self._transaction():
                self._require_bucket(bucket)
                replaced = self._find(bucket, name)
                _check_destination(preconditions, replaced)
                changed = self._finalize(
                    replaced,
                    bucket=bucket,
                    name=name,
                    content=content.id,
                    size=content.size,
                    crc32c=content.crc32c,
                    md5=md5,
                    components=components,
                    fields=fields,
                )
        except BaseException:
            content.discard()
            raise
        content.keep()
        self._drop_unreferred(replaced)
        return changed

    def get(
        self, bucket: str, name: str, *, generation: int | None = None, preconditions: Preconditions = ALWAYS
    ) -> StoredObject:
        """An object's resource.

        Raises:
            StorageError: 404, 412 or 304.
        """
        with self._lock:
            found = self._existing(bucket, name, generation)
        preconditions.check(found.generation, found.metageneration, reading=True)
        return found

    def open(
        self, bucket: str, name: str, *, generation: int | None = None, preconditions: Preconditions = ALWAYS
    ) -> tuple[StoredObject, BinaryIO]:
        """An object and its content, which stays readable when the object is deleted meanwhile.

        Raises:
            StorageError: 404, 412 or 304.
        """
        with self._lock:
            found = self._existing(bucket, name, generation)
            preconditions.check(found.generation, found.metageneration, reading=True)
            # Inside the lock: between finding and opening nobody deletes the file.
            return found, (self._contents / found.content).open("rb", buffering=0)

    def update(
        self,
        bucket: str,
        name: str,
        change: Callable[[Fields], Fields],
        *,
        generation: int | None = None,
        preconditions: Preconditions = ALWAYS,
    ) -> Changed:
        """Replace an object's fields by what `change` makes of them; its content and generation stay.

        Raises:
            StorageError: 400, 404 or 412.
        """
        with self._transaction():
            found = self._existing(bucket, name, generation)
            preconditions.check(found.generation, found.metageneration)
            fields = _checked_fields(change(found.fields))
            found = replace(found, metageneration=found.metageneration + 1, updated=_now(), fields=fields)
            self._put(found)
        return Changed(object=found, events=(Event(kind="OBJECT_METADATA_UPDATE", object=found),))

    def rewrite(
        self,
        source: tuple[str, str],
        destination: tuple[str, str],
        fields: Fields | None = None,
        *,
        source_generation: int | None = None,
        source_preconditions: Preconditions = ALWAYS,
        preconditions: Preconditions = ALWAYS,
    ) -> Changed:
        """Copy (bucket, name) to (bucket, name). Given fields replace the source's; None copies them.

        Raises:
            StorageError: 400, 404 for the source or the destination's bucket, 412.
        """
        check_name(destination[1])
        checked = None if fields is None else _checked_fields(fields)
        with self._transaction():
            original = self._existing(*source, source_generation)
            source_preconditions.check(original.generation, original.metageneration)
            self._require_bucket(destination[0])
            replaced = self._find(*destination)
            _check_destination(preconditions, replaced)
            changed = self._finalize_copy(original, destination, replaced, checked)
        self._drop_unreferred(replaced)
        return changed

    def move(
        self,
        bucket: str,
        name: str,
        new_name: str,
        *,
        source_preconditions: Preconditions = ALWAYS,
        preconditions: Preconditions = ALWAYS,
    ) -> Changed:
        """Give an object another name in its bucket, at once and with its metadata.

        Raises:
            StorageError: 400, 404 or 412.
        """
        check_name(new_name)
        if new_name == name:
            raise invalid(f"Source and destination object are both {name!r}; a move needs another name.")
        with self._transaction():
            original = self._existing(bucket, name, None)
            source_preconditions.check(original.generation, original.metageneration)
            replaced = self._find(bucket, new_name)
            _check_destination(preconditions, replaced)
            self._remove(original)
            moved = self._finalize_copy(original, (bucket, new_name), replaced, None)
        self._drop_unreferred(replaced)
        return replace(moved, events=(*moved.events, Event(kind="OBJECT_DELETE", object=original)))

    def compose(
        self,
        bucket: str,
        sources: Sequence[ComposeSource],
        name: str,
        fields: Fields,
        preconditions: Preconditions = ALWAYS,
    ) -> Changed:
        """Put objects of one bucket together into one.

        Raises:
            StorageError: 400, 404 or 412.
        """
        if not 1 <= len(sources) <= MAX_COMPOSE_SOURCES:
            raise invalid(f"{len(sources)} source components; allowed are 1 to {MAX_COMPOSE_SOURCES}.")
        components = 0
        content = self.new_content()
        try:
            for source in sources:
                found, file = self.open(bucket, source.name, generation=source.generation)
                with file:
                    source.preconditions.check(found.generation, found.metageneration)
                    while block := file.read(_COPY_BLOCK):
                        content.write(block)
                components += found.components or 1
        except BaseException:
            content.discard()
            raise
        return self._insert(bucket, name, content, fields, preconditions, md5=None, components=components)

    def delete(
        self, bucket: str, name: str, *, generation: int | None = None, preconditions: Preconditions = ALWAYS
    ) -> tuple[Event, ...]:
        """Delete an object; what happened is returned.

        Raises:
            StorageError: 404 or 412.
        """
        with self._transaction():
            found = self._existing(bucket, name, generation)
            preconditions.check(found.generation, found.metageneration)
            self._remove(found)
        self._drop_unreferred(found)
        return (Event(kind="OBJECT_DELETE", object=found),)

    def list(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        start: str = "",
        end: str | None = None,
        include_trailing_delimiter: bool = False,
        limit: int = MAX_PAGE,
        matching: re.Pattern[str] | None = None,
        look_at: int | None = None,
    ) -> Page:
        """Objects by name from `start` on (inclusive) up to `end` (exclusive), at most `limit` with the prefixes.

        A page costs by what is on it, never by what is in the bucket: names are sought in the index, and so is the
        next name after everything that shares a prefix. With `matching` it costs as many names as it takes to find what
        matches whole, but for `look_at`: a page ends after that many, even if nothing is on it.

        Raises:
            StorageError: 404 for the bucket.
        """
        stop = min((bound for bound in (end, successor(prefix)) if bound is not None), default=None)
        page = Page(objects=[], prefixes=[], next_start=None)
        position: str | None = max(prefix, start)
        with self._lock:
            self._require_bucket(bucket)
            while position is not None:
                position, seen = self._list_run(
                    bucket,
                    position,
                    stop,
                    page,
                    (prefix, delimiter, include_trailing_delimiter, limit, matching, look_at),
                )
                look_at = None if look_at is None else look_at - seen
                full = len(page.objects) + len(page.prefixes) >= limit or (look_at is not None and look_at <= 0)
                if position is not None and full:
                    return page if self._first(bucket, position, stop) is None else replace(page, next_start=position)
        return page

    def _list_run(
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
        condition, values = _name_range(position, stop)
        rows = self._index.execute(
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

    def _first(self, bucket: str, start: str, stop: str | None) -> str | None:
        condition, values = _name_range(start, stop)
        row = self._index.execute(
            f"SELECT name FROM objects WHERE bucket = ? AND {condition} ORDER BY name LIMIT 1",  # noqa: S608
            (bucket, *values),
        ).fetchone()
        return None if row is None else row[0]

    def _find(self, bucket: str, name: str) -> StoredObject | None:
        row = self._index.execute("SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name)).fetchone()
        return None if row is None else _read_object(row)

    def _existing(self, bucket: str, name: str, generation: int | None) -> StoredObject:
        found = self._find(bucket, name)
        if found is None:
            self._require_bucket(bucket)
        if found is None or generation not in {None, found.generation}:
            raise StorageError(404, "notFound", f"No such object: {bucket}/{name}")
        return found

    def _finalize_copy(
        self,
        original: StoredObject,
        destination: tuple[str, str],
        replaced: StoredObject | None,
        fields: Fields | None,
    ) -> Changed:
        return self._finalize(
            replaced,
            bucket=destination[0],
            name=destination[1],
            content=original.content,
            size=original.size,
            crc32c=original.crc32c,
            md5=original.md5,
            components=original.components,
            fields=original.fields if fields is None else fields,
        )

    def _finalize(
        self,
        replaced: StoredObject | None,
        *,
        bucket: str,
        name: str,
        content: str,
        size: int,
        crc32c: str,
        md5: str | None,
        components: int | None,
        fields: Fields,
    ) -> Changed:
        now = _now()
        # Google's generations are microseconds too; here each is larger than all before, whatever the clock does.
        self._latest_generation = max(now, self._latest_generation + 1)
        new = StoredObject(
            bucket=bucket,
            name=name,
            generation=self._latest_generation,
            metageneration=1,
            content=content,
            size=size,
            crc32c=crc32c,
            md5=md5,
            components=components,
            created=now,
            updated=now,
            fields=fields,
        )
        self._put(new)
        if replaced is None:
            return Changed(object=new, events=(Event(kind="OBJECT_FINALIZE", object=new),))
        gone = Event(kind="OBJECT_DELETE", object=replaced, overwritten_by=new.generation)
        return Changed(
            object=new, events=(gone, Event(kind="OBJECT_FINALIZE", object=new, overwrote=replaced.generation))
        )

    def _put(self, new: StoredObject) -> None:
        self._index.execute(
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

    def _remove(self, found: StoredObject) -> None:
        self._index.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (found.bucket, found.name))

    def _drop_unreferred(self, gone: StoredObject | None) -> None:
        """Delete the content of an object that is gone, unless a copy still refers to it."""
        if gone is None:
            return
        with self._lock:
            row = self._index.execute("SELECT 1 FROM objects WHERE content = ? LIMIT 1", (gone.content,)).fetchone()
            if row is None:
                (self._contents / gone.content).unlink(missing_ok=True)


def successor(prefix: str) -> str | None:
    """The first text after everything that begins with `prefix`; None if there is none."""
    for index in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[index]) + 1
        if code == 0xD800:  # noqa: PLR2004  # the surrogates are no characters
            code = 0xE000
        if code <= 0x10FFFF:  # noqa: PLR2004  # the last code point
            return prefix[:index] + chr(code)
    return None


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


def no_notification(bucket: str, identifier: str) -> StorageError:
    """404 for a notification config."""
    return StorageError(404, "notFound", f"Bucket {bucket} has no notification config {identifier}.")


def _check_destination(preconditions: Preconditions, current: StoredObject | None) -> None:
    if current is None:
        preconditions.check(0, None)
    else:
        preconditions.check(current.generation, current.metageneration)


def _checked_fields(fields: Fields) -> Fields:
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


def _name_range(start: str, stop: str | None) -> tuple[str, Iterable[str]]:
    return ("name >= ?", (start,)) if stop is None else ("name >= ? AND name < ?", (start, stop))


def _read_bucket(row: Sequence[Any]) -> Bucket:
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


def _now() -> int:
    return time.time_ns() // 1000
