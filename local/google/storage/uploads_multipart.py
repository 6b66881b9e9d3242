"""Multipart uploads of the XML API: parts that arrive in any order and become one object.

https://cloud.google.com/storage/docs/multipart-uploads. Like Google's, an upload that is never finished stays; here until
the server stops. Deliberately absent: listing a bucket's unfinished uploads, and copying an object into a part.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from local.google.gate import Call, Gate
from local.google.identity import base_url, identity_of
from local.google.storage.content import Content
from local.google.storage.records import ALWAYS, Fields, StoredObject
from local.google.storage.signing import XmlError
from local.google.storage.store import ObjectStore
from local.google.storage.supported import check_object_fields, check_parameters

CREATE: Final = "storage.multipartUploads.create"
LIST_PARTS: Final = "storage.multipartUploads.listParts"
ABORT: Final = "storage.multipartUploads.abort"

MAX_PARTS: Final = 10_000
MIN_PART_BYTES: Final = 5 * 2**20
"""Of every part but the last."""
_MAX_BODY = 4 << 20
_BLOCK = 1 << 20
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_HEADERS: Final = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
_METADATA = "x-goog-meta-"

Insert = Callable[[Request, str, str, Content, Fields], StoredObject]


@dataclass(kw_only=True)
class _Upload:
    bucket: str
    name: str
    fields: Fields
    parts: dict[int, Content] = field(default_factory=dict[int, Content])


class MultipartUploads:
    """Answers what a request for `/BUCKET/OBJECT` with `uploads` or `uploadId` in its query asks for."""

    def __init__(self, store: ObjectStore, gate: Gate, insert: Insert) -> None:
        """`insert(request, bucket, name, content, fields)` makes a finished content an object and announces it."""
        self._store = store
        self._gate = gate
        self._insert = insert
        self._lock = threading.Lock()
        self._uploads: dict[str, _Upload] = {}

    async def answer(self, request: Request) -> Response:
        """One request.

        Raises:
            XmlError: what the XML API answers with an error of its own.
            ApiError: any other refusal.
        """
        check_parameters(request.query_params, request.headers)
        query = request.query_params
        match request.method, "uploads" in query, "uploadId" in query:
            case "POST", True, _:
                return await run_in_threadpool(self._begin, request)
            case "PUT", _, True:
                return await self._add_part(request)
            case "POST", _, True:
                body = await request.body()
                return await run_in_threadpool(self._complete, request, body)
            case "GET", _, True:
                return await run_in_threadpool(self._list_parts, request)
            case "DELETE", _, True:
                return await run_in_threadpool(self._abort, request)
            case method, _, _:
                message = (
                    f"The local Cloud Storage does not do {method} of an object by the XML API; it does multipart uploads, "
                    "and GET by a signed URL. Use the JSON API."
                )
                raise XmlError(501, "NotImplemented", message)

    def _begin(self, request: Request) -> Response:
        bucket, name = _address(request)
        fields: Fields = {key: request.headers[header] for header, key in _HEADERS.items() if header in request.headers}
        metadata = {
            header.removeprefix(_METADATA): value
            for header, value in request.headers.items()
            if header.startswith(_METADATA)
        }
        fields |= {"metadata": metadata} if metadata else {}
        check_object_fields(fields)
        call = self._enter(request, CREATE)
        # Whether the bucket is there and the name can be.
        self._store.check_insert(bucket, name, ALWAYS)
        identifier = secrets.token_urlsafe(24)
        with self._lock:
            self._uploads[identifier] = _Upload(bucket=bucket, name=name, fields=fields)
        self._gate.leave(call)
        return _xml("InitiateMultipartUploadResult", {"Bucket": bucket, "Key": name, "UploadId": identifier})

    async def _add_part(self, request: Request) -> Response:
        number = request.query_params.get("partNumber", "")
        if not number.isdecimal() or not 1 <= int(number) <= MAX_PARTS:
            raise _invalid(f"partNumber is {number!r}; allowed is 1 to {MAX_PARTS}.")
        await run_in_threadpool(self._upload, request)
        content = await run_in_threadpool(self._store.new_content)
        try:
            async for chunk in request.stream():
                await run_in_threadpool(content.write, chunk)
            content.close()
            return await run_in_threadpool(self._keep_part, request, int(number), content)
        except BaseException:
            content.discard()
            raise

    def _keep_part(self, request: Request, number: int, content: Content) -> Response:
        content.verify(crc32c=None, md5=request.headers.get("content-md5"))
        call = self._enter(request, CREATE)
        with self._lock:
            upload = self._find(request)
            replaced = upload.parts.get(number)
            upload.parts[number] = content
        if replaced is not None:
            replaced.discard()
        self._gate.leave(call)
        hashes = f"crc32c={content.crc32c},md5={content.md5}"
        return Response(headers={"etag": _etag(content), "x-goog-hash": hashes})

    def _complete(self, request: Request, body: bytes) -> Response:
        call = self._enter(request, CREATE)
        given = _given_parts(body)
        with self._lock:
            upload = self._find(request)
            parts = _chosen(upload, given)
            del self._uploads[request.query_params["uploadId"]]
        content = self._store.new_content()
        try:
            for part in parts:
                with part.open() as file:
                    while block := file.read(_BLOCK):
                        content.write(block)
            stored = self._insert(request, upload.bucket, upload.name, content, upload.fields)
        except BaseException:
            content.discard()
            raise
        finally:
            _discard(upload)
        self._gate.leave(call)
        location = f"{base_url(request.scope)}{request.scope['path']}"
        fields = {"Location": location, "Bucket": upload.bucket, "Key": upload.name, "ETag": f'"{stored.generation}"'}
        response = _xml("CompleteMultipartUploadResult", fields)
        response.headers["x-goog-generation"] = str(stored.generation)
        response.headers["x-goog-hash"] = f"crc32c={stored.crc32c}"
        return response

    def _list_parts(self, request: Request) -> Response:
        call = self._enter(request, LIST_PARTS)
        with self._lock:
            upload = self._find(request)
            parts = "".join(
                f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(_etag(part))}</ETag><Size>{part.size}</Size></Part>"
                for number, part in sorted(upload.parts.items())
            )
        self._gate.leave(call)
        fields = {
            "Bucket": upload.bucket,
            "Key": upload.name,
            "UploadId": request.query_params["uploadId"],
            "IsTruncated": "false",
        }
        return _xml("ListPartsResult", fields, parts)

    def _abort(self, request: Request) -> Response:
        call = self._enter(request, ABORT)
        with self._lock:
            upload = self._find(request)
            del self._uploads[request.query_params["uploadId"]]
        _discard(upload)
        self._gate.leave(call)
        return Response(status_code=204)

    def _enter(self, request: Request, method: str) -> Call:
        bucket, name = _address(request)
        call = Call(identity=identity_of(request.scope), method=method, bucket=bucket, object=name)
        self._gate.enter(call)
        return call

    def _upload(self, request: Request) -> _Upload:
        with self._lock:
            return self._find(request)

    def _find(self, request: Request) -> _Upload:
        upload = self._uploads.get(request.query_params["uploadId"])
        if upload is None or (upload.bucket, upload.name) != _address(request):
            raise XmlError(404, "NoSuchUpload", "The requested upload was not found.")
        return upload


def _address(request: Request) -> tuple[str, str]:
    bucket, name = (unquote_to_bytes(request.path_params[key]).decode() for key in ("bucket", "object"))
    return bucket, name


def _etag(part: Content) -> str:
    return f'"{part.md5}"'


def _given_parts(body: bytes) -> list[tuple[int, str]]:
    """What the client says the parts are: number and ETag."""
    try:
        if len(body) > _MAX_BODY:
            raise _invalid(f"The list of parts has {len(body)} bytes; allowed are {_MAX_BODY}.")
        root = ET.fromstring(body)  # noqa: S314  # expat itself limits what entities expand to
        return [
            (int(part.findtext("{*}PartNumber") or ""), (part.findtext("{*}ETag") or "").strip('"'))
            for part in root.iterfind("{*}Part")
        ]
    except (ET.ParseError, ValueError) as error:
        raise XmlError(400, "MalformedCompleteMultipartUploadRequest", f"The list of parts: {error}") from error


def _chosen(upload: _Upload, given: list[tuple[int, str]]) -> list[Content]:
    numbers = [number for number, _ in given]
    if not given or numbers != sorted(set(numbers)):
        raise XmlError(400, "InvalidPartOrder", f"The parts must be listed once each in order, not {numbers[:20]}.")
    parts: list[Content] = []
    for number, etag in given:
        part = upload.parts.get(number)
        if part is None or part.md5 != etag:
            raise XmlError(400, "InvalidPart", f"There is no part {number} with the ETag {etag!r}.")
        parts.append(part)
    for number, part in zip(numbers[:-1], parts, strict=False):
        if part.size < MIN_PART_BYTES:
            message = f"Part {number} has {part.size} bytes; every part but the last needs {MIN_PART_BYTES}."
            raise XmlError(400, "EntityTooSmall", message)
    return parts


def _discard(upload: _Upload) -> None:
    for part in upload.parts.values():
        part.discard()


def _invalid(message: str) -> XmlError:
    return XmlError(400, "InvalidArgument", message)


def _xml(name: str, fields: dict[str, str], rest: str = "") -> Response:
    inner = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in fields.items())
    body = f"<?xml version='1.0' encoding='UTF-8'?><{name} xmlns='{_NAMESPACE}'>{inner}{rest}</{name}>"
    return Response(body.encode(), media_type="application/xml; charset=UTF-8")
