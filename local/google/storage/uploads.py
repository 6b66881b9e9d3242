"""Uploads: the whole content in one request, or a resumable upload."""

import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from local.google.gate import Call, Gate
from local.google.storage.content import Content
from local.google.storage.multipart import MultipartReader
from local.google.storage.notifications import Notifier
from local.google.storage.records import (
    WRITABLE_FIELDS,
    Fields,
    Preconditions,
    StorageError,
    StoredObject,
    check_name,
    invalid,
)
from local.google.storage.requests import BLOCK, DEFAULT_CONTENT_TYPE, StorageRequest, passing, whole_number
from local.google.storage.store import ObjectStore
from local.google.storage.supported import (
    check_object_fields,
    check_parameters,
)

_RESUMABLE_QUANTUM = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What an upload is to become."""

    bucket: str
    name: str
    resource: Fields
    """As the sender gave it, with its checksums."""
    fields: Fields
    preconditions: Preconditions

    @staticmethod
    def of(request: StorageRequest, resource: Fields, content_type: str | None) -> "_Target":
        name = resource.get("name") or request.query("name") or ""
        if not isinstance(name, str):
            raise invalid(f"The object's name must be text, not {name!r}")
        check_name(name)
        check_object_fields(resource)
        fields = {key: resource[key] for key in WRITABLE_FIELDS if key in resource}
        fields["contentType"] = fields.get("contentType") or content_type or DEFAULT_CONTENT_TYPE
        if encoding := request.query("contentEncoding"):
            fields["contentEncoding"] = encoding
        return _Target(
            bucket=request.name("bucket"),
            name=name,
            resource=resource,
            fields=fields,
            preconditions=request.preconditions(),
        )

    def call(self, request: StorageRequest) -> Call:
        return request.call("storage.objects.insert", bucket=self.bucket, object=self.name)


@dataclass(kw_only=True)
class _Upload:
    """A resumable upload between its first and its last request."""

    target: _Target
    declared_size: int | None
    content: Content
    call: Call
    busy: anyio.Lock = field(default_factory=anyio.Lock)
    """Its requests one after the other."""
    finished: StoredObject | None = None


class UploadHandlers:
    """Answers uploads: in one request, or resumable ones in several."""

    def __init__(self, store: ObjectStore, gate: Gate, notifier: Notifier) -> None:
        """No upload has begun."""
        self._store = store
        self._gate = gate
        self._notifier = notifier
        # As at Google, an unfinished upload stays; here until the server stops.
        self._uploads: dict[str, _Upload] = {}

    async def upload(self, http: Request) -> Response:
        """Insert an object: the whole content in this request, or the beginning of a resumable upload."""
        request = StorageRequest(http=http)
        kind = request.query("uploadType")
        if request.query("upload_id"):
            # Chunks may come by POST as well as by PUT.
            return await self.resume_upload(http)
        check_parameters(http.query_params, http.headers)
        if kind == "resumable":
            return await run_in_threadpool(self._begin_upload, StorageRequest(http=http, body=await http.body()))
        if kind not in {"media", "multipart"}:
            raise invalid(f"uploadType is {kind!r}; allowed are media, multipart and resumable")
        content = await run_in_threadpool(self._store.new_content)
        content_type = http.headers.get("content-type")
        try:
            reader = MultipartReader(content_type or "", content.write) if kind == "multipart" else None
            rest = await _spool(http.stream(), content.write if reader is None else reader.feed)
            return await run_in_threadpool(self._finish_single_upload, request, content, content_type, reader, rest)
        except BaseException:
            content.discard()
            raise

    def _finish_single_upload(
        self,
        request: StorageRequest,
        content: Content,
        content_type: str | None,
        reader: MultipartReader | None,
        rest: bytes,
    ) -> Response:
        resource: Fields = {}
        if reader is None:
            content.write(rest)
        else:
            reader.feed(rest)
            reader.finish()
            resource, content_type = reader.resource, reader.content_type
        target = _Target.of(request, resource, content_type)
        with passing(self._gate, target.call(request)):
            stored = self._insert(request, target, content)
        return request.answer_object(stored)

    def _insert(self, request: StorageRequest, target: "_Target", content: Content) -> StoredObject:
        content.verify(crc32c=target.resource.get("crc32c"), md5=target.resource.get("md5Hash"))
        content.verify(**_hash_header(request.http))
        return self._notifier.changed(
            request, self._store.insert(target.bucket, target.name, content, target.fields, target.preconditions)
        )

    def insert_parts(self, http: Request, bucket: str, name: str, content: Content, fields: Fields) -> StoredObject:
        """Insert an object whose parts were uploaded by the XML API."""
        return self._notifier.changed(
            StorageRequest(http=http), self._store.insert(bucket, name, content, fields, in_parts=True)
        )

    def _begin_upload(self, request: StorageRequest) -> Response:
        target = _Target.of(request, request.json(), request.http.headers.get("x-upload-content-type"))
        declared_size = request.http.headers.get("x-upload-content-length")
        call = target.call(request)
        self._gate.enter(call)  # and leaves it when the last byte is stored
        self._store.check_insert(target.bucket, target.name, target.preconditions)
        upload = _Upload(
            target=target,
            declared_size=None if declared_size is None else whole_number("X-Upload-Content-Length", declared_size),
            content=self._store.new_content(),
            call=call,
        )
        identifier = secrets.token_urlsafe(24)
        self._uploads[identifier] = upload
        location = f"{request.base}{request.http.scope['path']}?uploadType=resumable&name={quote(target.name, safe='')}"
        return Response(headers={"location": f"{location}&upload_id={identifier}", "x-guploader-uploadid": identifier})

    async def resume_upload(self, http: Request) -> Response:
        """More of a resumable upload, or the question how much has arrived."""
        request = StorageRequest(http=http)
        upload = self._upload(request)
        async with upload.busy:
            if upload.finished is not None:
                return await run_in_threadpool(request.answer_object, upload.finished)
            part = _Part.parse(http.headers.get("content-range"), upload.content.size)
            if part.start > upload.content.size:
                raise invalid(
                    f"The upload has {upload.content.size} bytes so far; it cannot go on at byte {part.start}."
                )
            writer = _PartWriter(upload.content, skip=upload.content.size - part.start)
            rest = await _spool(http.stream(), writer.write)
            return await run_in_threadpool(self._continue_upload, request, upload, part, writer, rest)

    def _continue_upload(
        self, request: StorageRequest, upload: _Upload, part: "_Part", writer: "_PartWriter", rest: bytes
    ) -> Response:
        writer.write(rest)
        if part.length not in {None, writer.length}:
            raise invalid(f"The Content-Range announces {part.length} bytes; the body has {writer.length}.")
        received = upload.content.size
        total = part.total
        if part.length is None:
            total = writer.length
        if total is None or received < total:
            if not part.is_query and writer.length < _RESUMABLE_QUANTUM:
                raise invalid(
                    f"Only the last request of a resumable upload may have fewer than {_RESUMABLE_QUANTUM} bytes; "
                    f"this one has {writer.length}."
                )
            return Response(status_code=308, headers={"range": f"bytes=0-{received - 1}"} if received else {})
        if received > total or upload.declared_size not in {None, total}:
            raise invalid(f"{received} bytes arrived; {upload.declared_size or total} were announced.")
        try:
            upload.finished = self._insert(request, upload.target, upload.content)
        except BaseException:
            # Nothing can mend it: what arrived is not what was sent, or a precondition does not hold any more.
            upload.content.discard()
            self._uploads.pop(request.query("upload_id") or "", None)
            raise
        self._gate.leave(upload.call)
        return request.answer_object(upload.finished)

    def cancel_upload(self, request: StorageRequest) -> Response:
        """Cancel a resumable upload."""
        upload = self._upload(request)
        del self._uploads[request.query("upload_id") or ""]
        if upload.finished is None:
            upload.content.discard()
        return Response(status_code=499)

    def _upload(self, request: StorageRequest) -> _Upload:
        upload = self._uploads.get(request.query("upload_id") or "")
        if upload is None:
            raise StorageError(404, "notFound", "There is no such resumable upload; begin it again.")
        return upload


async def _spool(chunks: AsyncIterator[bytes], sink: Callable[[bytes], None]) -> bytes:
    """Pass a body on in blocks from a worker thread; the last block, which may be all of it, is returned."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        if len(pending) >= BLOCK:
            block = bytes(pending)
            pending.clear()
            await run_in_threadpool(sink, block)
    return bytes(pending)


def _hash_header(http: Request) -> dict[str, str | None]:
    """`X-Goog-Hash: crc32c=...,md5=...` of an upload."""
    given = (part.strip().partition("=") for part in http.headers.get("x-goog-hash", "").split(","))
    hashes = {kind: value for kind, _, value in given}
    return {"crc32c": hashes.get("crc32c"), "md5": hashes.get("md5")}


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What a `Content-Range` says of one request of a resumable upload."""

    start: int
    length: int | None
    """None: the body is the whole content."""
    total: int | None
    is_query: bool

    @staticmethod
    def parse(header: str | None, received: int) -> "_Part":
        if header is None:
            return _Part(start=0, length=None, total=None, is_query=False)
        match = re.fullmatch(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", header.strip())
        if match is None:
            raise invalid(f"Failed to parse Content-Range header {header!r}")
        first, last, total = match.groups()
        size = None if total == "*" else int(total)
        if first is None:
            return _Part(start=received, length=0, total=size, is_query=True)
        return _Part(start=int(first), length=int(last) - int(first) + 1, total=size, is_query=False)


class _PartWriter:
    """Counts the bytes of one request and leaves out its beginning, which has arrived before."""

    def __init__(self, content: Content, *, skip: int) -> None:
        self._content = content
        self._skip = skip
        self.length = 0

    def write(self, block: bytes) -> None:
        self.length += len(block)
        skipped = min(self._skip, len(block))
        self._skip -= skipped
        self._content.write(block[skipped:])
