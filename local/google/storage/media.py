"""Downloads."""

import re
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import BinaryIO
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from local.google.gate import ApiError, Call, Gate
from local.google.storage import resources
from local.google.storage.records import StoredObject, invalid
from local.google.storage.requests import BLOCK, DEFAULT_CONTENT_TYPE, StorageRequest
from local.google.storage.signing import Signers, XmlError, signer_of_url
from local.google.storage.store import ObjectStore


class MediaHandlers:
    """Answers downloads: with the caller's rights, or by signed URL."""

    def __init__(self, store: ObjectStore, gate: Gate, signers: Signers) -> None:
        """`signers` are the service accounts whose signed URLs are valid."""
        self._store = store
        self._gate = gate
        self._signers = signers

    def download(self, request: StorageRequest) -> Response:
        """Answer `objects.get` with alt=media."""
        try:
            return self._download(
                request,
                request.call("storage.objects.get", bucket=request.name("bucket"), object=request.name("object")),
            )
        except ApiError as error:
            if error.status == 304:  # noqa: PLR2004
                raise
            # To a download Google answers the bare message.
            return PlainTextResponse(error.message, error.status, media_type="text/html")

    def _download(self, request: StorageRequest, call: Call, overrides: dict[str, str] | None = None) -> Response:
        self._gate.enter(call)
        stored, file = self._store.open(
            call.bucket or "",
            call.object or "",
            generation=request.number("generation"),
            preconditions=request.preconditions(),
        )
        try:
            request.check_etag(resources.etag(stored.generation, stored.metageneration))
            self._gate.leave(call)
        except BaseException:
            file.close()
            raise
        return _media_response(
            stored, file, request.http.headers.get("range"), _media_headers(stored) | (overrides or {})
        )

    def signed_download(self, request: StorageRequest) -> Response:
        """A download by signed URL."""
        http = request.http
        query = http.query_params.multi_items()
        bucket, name = request.name("bucket"), request.name("object")
        try:
            signer = signer_of_url(self._signers, http.method, http.scope["path"], query, http.headers)
            call = Call(identity=signer, method="storage.objects.get", bucket=bucket, object=name)
            return self._download(request, call, _response_overrides(http))
        except ApiError as error:
            return xml_refusal(error)


class _MediaResponse(Response):
    """Headers as bytes: an object's own may be any text."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        self.raw_headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]


class _MediaStream(StreamingResponse):
    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        self.raw_headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]


def _media_response(
    stored: StoredObject, file: BinaryIO, range_header: str | None, headers: dict[str, str]
) -> Response:
    start, end = 0, stored.size
    status = 200
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (range_header or "").strip())
    if match and match.group() != "bytes=-":
        first, last = match.groups()
        if first:
            start, end = int(first), min(int(last) + 1 if last else stored.size, stored.size)
        else:
            start = max(stored.size - int(last), 0)
        if start >= stored.size or (first and last and int(last) < int(first)):
            file.close()
            return PlainTextResponse(
                "The requested range cannot be satisfied.",
                416,
                headers={"content-range": f"bytes */{stored.size}"},
            )
        status = 206
    headers["content-length"] = str(end - start)
    if status == 206:  # noqa: PLR2004
        headers["content-range"] = f"bytes {start}-{end - 1}/{stored.size}"
    if end - start <= BLOCK:
        with file:
            file.seek(start)
            return _MediaResponse(file.read(end - start), status, headers)
    return _MediaStream(_blocks(file, start, end), status, headers)


def _blocks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end and (block := file.read(min(BLOCK, end - start))):
            start += len(block)
            yield block


def _response_overrides(http: Request) -> dict[str, str]:
    """What a signed URL wants of the answer's headers."""
    given = {
        name: http.query_params[f"response-{name}"]
        for name in ("content-type", "content-disposition")
        if http.query_params.get(f"response-{name}")
    }
    for name, value in given.items():
        if not value.isprintable():
            raise invalid(f"response-{name} must be text without control characters, not {value!r}")
    return given


def _media_headers(stored: StoredObject) -> dict[str, str]:
    hashes = [f"crc32c={stored.crc32c}", *([f"md5={stored.md5}"] if stored.md5 else [])]
    headers = {
        "content-type": stored.fields.get("contentType", DEFAULT_CONTENT_TYPE),
        "etag": resources.etag(stored.generation, stored.metageneration),
        "last-modified": formatdate(stored.updated / 1_000_000, usegmt=True),
        "cache-control": stored.fields.get("cacheControl", "private, max-age=0"),
        "accept-ranges": "bytes",
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": str(stored.metageneration),
        "x-goog-hash": ",".join(hashes),
        "x-goog-storage-class": stored.fields.get("storageClass", "STANDARD"),
        "x-goog-stored-content-encoding": stored.fields.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": str(stored.size),
    }
    for name, key in (
        ("content-encoding", "contentEncoding"),
        ("content-disposition", "contentDisposition"),
        ("content-language", "contentLanguage"),
    ):
        if key in stored.fields:
            headers[name] = stored.fields[key]
    return headers


_XML_CODES = {
    304: "NotModified",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def xml_refusal(error: ApiError) -> Response:
    """An error in XML."""
    if isinstance(error, XmlError):
        return _xml_error(error.status, error.reason, error.message, error.details)
    return _xml_error(error.status, _XML_CODES.get(error.status, "InvalidArgument"), error.message, {})


def _xml_error(status: int, code: str, message: str, details: Mapping[str, str]) -> Response:
    """https://cloud.google.com/storage/docs/xml-api/reference-status#http-status-and-error-codes."""
    elements = {"Code": code, "Message": message, **details}
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error>{inner}</Error>"
    return Response(body.encode(), status, media_type="application/xml; charset=UTF-8")
