"""Buckets and objects on disk: generations, metagenerations and preconditions, without any protocol.

The contents lie beside the index, one file for each upload, under a random name that an object refers to. A content
never changes and becomes visible only by the transaction that refers to it, so neither a crash nor a concurrent reader
ever sees half an object; contents that a crash leaves without an object are deleted at the next start. (A power failure
can lose the latest contents: nothing waits for the disk.)
"""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, Self

from local.google.storage.bucket_store import BucketStore, now
from local.google.storage.content import Content
from local.google.storage.index import Index, successor
from local.google.storage.records import (
    ALWAYS,
    MAX_PAGE,
    Changed,
    ComposeSource,
    Event,
    Fields,
    Page,
    Preconditions,
    StoredObject,
    check_destination,
    check_name,
    checked_fields,
    invalid,
)

MAX_COMPOSE_SOURCES: Final = 32
_COPY_BLOCK = 1 << 20


class ObjectStore(BucketStore):
    """Everything in one folder. Every method may be called from any thread; none waits for anything but the disk."""

    def __init__(self, folder: Path) -> None:
        """Open the store in `folder`, which is created if need be; one process at a time."""
        self._contents = folder / "contents"
        self._contents.mkdir(parents=True, exist_ok=True)
        super().__init__(Index(folder / "index.sqlite"))
        self._latest_generation = self._index.latest_generation()
        self._sweep()

    def close(self) -> None:
        """Close the index; the store cannot be used after."""
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sweep(self) -> None:
        referred = {content for (content,) in self._index.connection.execute("SELECT content FROM objects")}
        for path in self._contents.iterdir():
            if path.name not in referred:
                path.unlink()

    def new_content(self) -> Content:
        """A place for the bytes of an upload."""
        return Content(self._contents / secrets.token_hex(16))

    def exists(self, bucket: str, name: str) -> bool:
        """Whether there is such an object now."""
        with self._index.lock:
            return self._index.find(bucket, name) is not None

    def check_insert(self, bucket: str, name: str, preconditions: Preconditions) -> None:
        """Whether an upload could begin now; :meth:`insert` decides.

        Raises:
            StorageError: 400, 404 or 412.
        """
        check_name(name)
        with self._index.lock:
            self._index.require_bucket(bucket)
            check_destination(preconditions, self._index.find(bucket, name))

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
            fields = checked_fields(fields)
            with self._index.transaction():
                self._index.require_bucket(bucket)
                replaced = self._index.find(bucket, name)
                check_destination(preconditions, replaced)
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
        with self._index.lock:
            found = self._index.existing(bucket, name, generation)
        preconditions.check(found.generation, found.metageneration, reading=True)
        return found

    def open(
        self, bucket: str, name: str, *, generation: int | None = None, preconditions: Preconditions = ALWAYS
    ) -> tuple[StoredObject, BinaryIO]:
        """An object and its content, which stays readable when the object is deleted meanwhile.

        Raises:
            StorageError: 404, 412 or 304.
        """
        with self._index.lock:
            found = self._index.existing(bucket, name, generation)
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
        with self._index.transaction():
            found = self._index.existing(bucket, name, generation)
            preconditions.check(found.generation, found.metageneration)
            fields = checked_fields(change(found.fields))
            found = replace(found, metageneration=found.metageneration + 1, updated=now(), fields=fields)
            self._index.put(found)
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
        checked = None if fields is None else checked_fields(fields)
        with self._index.transaction():
            original = self._index.existing(*source, source_generation)
            source_preconditions.check(original.generation, original.metageneration)
            self._index.require_bucket(destination[0])
            replaced = self._index.find(*destination)
            check_destination(preconditions, replaced)
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
        with self._index.transaction():
            original = self._index.existing(bucket, name, None)
            source_preconditions.check(original.generation, original.metageneration)
            replaced = self._index.find(bucket, new_name)
            check_destination(preconditions, replaced)
            self._index.remove(original)
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
        with self._index.transaction():
            found = self._index.existing(bucket, name, generation)
            preconditions.check(found.generation, found.metageneration)
            self._index.remove(found)
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
        with self._index.lock:
            self._index.require_bucket(bucket)
            while position is not None:
                position, seen = self._index.list_run(
                    bucket,
                    position,
                    stop,
                    page,
                    (prefix, delimiter, include_trailing_delimiter, limit, matching, look_at),
                )
                look_at = None if look_at is None else look_at - seen
                full = len(page.objects) + len(page.prefixes) >= limit or (look_at is not None and look_at <= 0)
                if position is not None and full:
                    return (
                        page
                        if self._index.first_name(bucket, position, stop) is None
                        else replace(page, next_start=position)
                    )
        return page

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
        created = now()
        # Google's generations are microseconds too; here each is larger than all before, whatever the clock does.
        self._latest_generation = max(created, self._latest_generation + 1)
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
            created=created,
            updated=created,
            fields=fields,
        )
        self._index.put(new)
        if replaced is None:
            return Changed(object=new, events=(Event(kind="OBJECT_FINALIZE", object=new),))
        gone = Event(kind="OBJECT_DELETE", object=replaced, overwritten_by=new.generation)
        return Changed(
            object=new, events=(gone, Event(kind="OBJECT_FINALIZE", object=new, overwrote=replaced.generation))
        )

    def _drop_unreferred(self, gone: StoredObject | None) -> None:
        """Delete the content of an object that is gone, unless a copy still refers to it."""
        if gone is None:
            return
        with self._index.lock:
            row = self._index.connection.execute(
                "SELECT 1 FROM objects WHERE content = ? LIMIT 1", (gone.content,)
            ).fetchone()
            if row is None:
                (self._contents / gone.content).unlink(missing_ok=True)
