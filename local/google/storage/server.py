"""The JSON API of Cloud Storage over an :class:`ObjectStore`, and downloads by signed URL.

https://cloud.google.com/storage/docs/json_api/v1. A request's body is read in the event loop; everything that touches
the disk, the gate or Pub/Sub runs in worker threads.
"""

import base64
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, BinaryIO, Final, cast
from urllib.parse import quote, unquote_to_bytes
from xml.sax.saxutils import escape

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.google.gate import ApiError, Call, Gate, RequestLog
from local.google.identity import NOBODY, IdentityMiddleware, base_url, identity_of, identity_path, server_url
from local.google.storage import resources
from local.google.storage.glob import matcher
from local.google.storage.multipart import MultipartReader
from local.google.storage.resources import Resource
from local.google.storage.signing import SignedUrlError, Signers, signer_of_url
from local.google.storage.store import (
    ALWAYS,
    MAX_PAGE,
    WRITABLE_FIELDS,
    Changed,
    ComposeSource,
    Content,
    Event,
    Fields,
    ObjectStore,
    Preconditions,
    StorageError,
    StoredObject,
    check_name,
    invalid,
    no_notification,
)

Publish = Callable[[str, bytes, dict[str, str]], None]
"""`publish(topic, data, attributes)` with `topic` as `projects/P/topics/T`; returns when Pub/Sub has the message."""

_BLOCK = 1 << 20
_RESUMABLE_QUANTUM = 256 * 1024
_TOPIC = re.compile(r"(?://pubsub\.googleapis\.com/)?(?P<topic>projects/[^/]+/topics/[^/]+)")
_EVENTS = {"OBJECT_FINALIZE", "OBJECT_METADATA_UPDATE", "OBJECT_DELETE", "OBJECT_ARCHIVE"}
_UNSUPPORTED = ("softDeleted", "filter", "userProject")
_DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"

_log = logging.getLogger(__name__)


def storage_app(
    store: ObjectStore,
    *,
    gate: Gate | None = None,
    publish: Publish | None = None,
    signers: Signers | None = None,
    rewrite_calls: Callable[[], int] = lambda: 1,
    names_for_a_page: Callable[[], int | None] = lambda: None,
) -> Starlette:
    """The application that answers for `store`.

    Every call passes `gate`, notifications go to `publish` after the change is stored and before it is answered, and
    `signers` are the service accounts whose signed URLs are good. Without `publish`, notifications go nowhere. A rewrite takes
    `rewrite_calls` calls; Google's takes several where a large object goes to another location. A listing with `matchGlob`
    looks at `names_for_a_page` names for each page, at all with None; Google does not say at how many it looks.
    """
    api = _StorageApi(store, gate or RequestLog(), publish, signers or Signers(), rewrite_calls, names_for_a_page)
    bucket, item = "/storage/v1/b/{bucket}", "/storage/v1/b/{bucket}/o/{object}"
    destination = "/b/{destination_bucket}/o/{destination_object}"
    routes = [
        _route("GET", "/storage/v1/b", api.list_buckets),
        _route("POST", "/storage/v1/b", api.insert_bucket),
        _route("GET", bucket, api.get_bucket),
        _route("PATCH", bucket, api.patch_bucket),
        _route("PUT", bucket, api.update_bucket),
        _route("DELETE", bucket, api.delete_bucket),
        _route("GET", bucket + "/storageLayout", api.storage_layout),
        _route("GET", bucket + "/notificationConfigs", api.list_notifications),
        _route("POST", bucket + "/notificationConfigs", api.insert_notification),
        _route("GET", bucket + "/notificationConfigs/{notification}", api.get_notification),
        _route("DELETE", bucket + "/notificationConfigs/{notification}", api.delete_notification),
        _route("GET", bucket + "/o", api.list_objects),
        _route("GET", item, api.get_object),
        _route("PATCH", item, api.patch_object),
        _route("PUT", item, api.update_object),
        _route("DELETE", item, api.delete_object),
        _route("POST", item + "/rewriteTo" + destination, api.rewrite_object),
        _route("POST", item + "/copyTo" + destination, api.copy_object),
        _route("POST", item + "/moveTo/o/{destination_object}", api.move_object),
        _route("POST", item + "/compose", api.compose_object),
        _route("GET", "/download" + item, api.download),
        *(
            route
            for upload in ("/upload" + bucket + "/o", "/resumable/upload" + bucket + "/o")
            for route in (
                Route(upload, api.upload, methods=["POST"]),
                Route(upload, api.resume_upload, methods=["PUT"]),
                _route("DELETE", upload, api.cancel_upload),
            )
        ),
        _route("POST", "/v1/projects/-/serviceAccounts/{account}", api.sign_blob),
        _route("GET", "/{bucket}/{object:path}", api.signed_download),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(IdentityMiddleware), Middleware(_EncodedPath)],
        exception_handlers={
            ApiError: _answer_error,
            UnicodeError: _answer_unicode_error,
            ClientDisconnect: _answer_nobody,
            404: _answer_unknown_path,
            405: _answer_unknown_path,
        },
    )
    app.router.redirect_slashes = False
    return app


class _EncodedPath:
    """Routes by the path as it was sent, so that `%2F` in an object's name is no separator.

    Names are decoded once, in :meth:`_Ask.name`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._app(scope, receive, send)


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """A request with its body."""

    request: Request
    body: bytes = b""

    @property
    def base(self) -> str:
        return base_url(self.request.scope)

    def name(self, parameter: str) -> str:
        """A bucket's or an object's name from the path."""
        return unquote_to_bytes(self.request.path_params[parameter]).decode()

    def query(self, parameter: str) -> str | None:
        return self.request.query_params.get(parameter)

    def flag(self, parameter: str) -> bool:
        return (self.query(parameter) or "").lower() == "true"

    def number(self, parameter: str) -> int | None:
        text = self.query(parameter)
        return None if text is None else _whole_number(parameter, text)

    def preconditions(self, source: str = "") -> Preconditions:
        def number(condition: str) -> int | None:
            return self.number(f"if{source}{condition}")

        not_match = number("MetagenerationNotMatch")
        if not_match is None:
            # Spelled so by the Python client's uploads.
            not_match = number("MetaGenerationNotMatch")
        return Preconditions(
            generation_match=number("GenerationMatch"),
            generation_not_match=number("GenerationNotMatch"),
            metageneration_match=number("MetagenerationMatch"),
            metageneration_not_match=not_match,
        )

    def json(self) -> Fields:
        """The body; empty if there is none."""
        try:
            value = json.loads(self.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise StorageError(400, "parseError", f"Parse Error: the request's body is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise StorageError(400, "parseError", "Parse Error: the request's body is no JSON object.")
        return cast("Fields", value)

    def call(self, method: str, **about: str | None) -> Call:
        return Call(
            identity=identity_of(self.request.scope),
            method=method,
            only_if_absent=self.query("ifGenerationMatch") == "0",
            **about,
        )

    def answer(self, resource: Resource) -> Response:
        fields = self.query("fields")
        if fields:
            resource = resources.partial_response(resource, fields)
        return _json_response(resource)

    def answer_object(self, stored: StoredObject) -> Response:
        return self.answer(resources.object_resource(stored, self.base))


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
    def of(ask: _Ask, resource: Fields, content_type: str | None) -> "_Target":
        name = resource.get("name") or ask.query("name") or ""
        if not isinstance(name, str):
            raise invalid(f"The object's name must be text, not {name!r}")
        check_name(name)
        fields = {key: resource[key] for key in WRITABLE_FIELDS if key in resource}
        fields["contentType"] = fields.get("contentType") or content_type or _DEFAULT_CONTENT_TYPE
        if encoding := ask.query("contentEncoding"):
            fields["contentEncoding"] = encoding
        return _Target(
            bucket=ask.name("bucket"), name=name, resource=resource, fields=fields, preconditions=ask.preconditions()
        )

    def call(self, ask: _Ask) -> Call:
        return ask.call("storage.objects.insert", bucket=self.bucket, object=self.name)


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


class _StorageApi:
    def __init__(
        self,
        store: ObjectStore,
        gate: Gate,
        publish: Publish | None,
        signers: Signers,
        rewrite_calls: Callable[[], int],
        names_for_a_page: Callable[[], int | None],
    ) -> None:
        self._store = store
        self._gate = gate
        self._publish = publish
        self._signers = signers
        self._rewrite_calls = rewrite_calls
        self._names_for_a_page = names_for_a_page
        # Like Google's, an upload that is never finished stays; here until the server stops.
        self._uploads: dict[str, _Upload] = {}

    @contextmanager
    def _passing(self, call: Call) -> Generator[None]:
        """Enter the gate, do the block, leave the gate unless the block failed."""
        self._gate.enter(call)
        yield
        self._gate.leave(call)

    def _announce(self, ask: _Ask, events: tuple[Event, ...]) -> None:
        """Publish what happened to whoever asked to be notified."""
        if self._publish is None:
            return
        # Whoever reads the message is neither who changed the object nor the engineer.
        base = server_url(ask.request.scope) + identity_path(NOBODY)
        for event in events:
            for identifier, config in self._store.notifications(event.object.bucket).items():
                if event.kind not in config.get("event_types", [event.kind]):
                    continue
                if not event.object.name.startswith(config.get("object_name_prefix", "")):
                    continue
                resource = resources.object_resource(event.object, base)
                data = json.dumps(resource).encode() if config["payload_format"] == "JSON_API_V1" else b""
                topic = cast("re.Match[str]", _TOPIC.fullmatch(config["topic"]))["topic"]
                try:
                    self._publish(topic, data, resources.event_attributes(event, identifier, config))
                except Exception as error:  # noqa: BLE001  # whatever a publisher raises
                    # The object is stored whatever becomes of its notification.
                    _log.error(  # a refusal needs no traceback
                        "%s of gs://%s/%s#%d could not be published to %s: %s",
                        event.kind,
                        event.object.bucket,
                        event.object.name,
                        event.object.generation,
                        topic,
                        error,
                        exc_info=not isinstance(error, ApiError),
                    )

    def _changed(self, ask: _Ask, changed: Changed) -> StoredObject:
        self._announce(ask, changed.events)
        return changed.object

    # Buckets

    def list_buckets(self, ask: _Ask) -> Response:
        with self._passing(ask.call("storage.buckets.list")):
            found, next_start = self._store.buckets(
                prefix=ask.query("prefix") or "", start=_page_start(ask), limit=_page_size(ask)
            )
        listing: Resource = {"kind": "storage#buckets"}
        if found:
            listing["items"] = [resources.bucket_resource(bucket, ask.base) for bucket in found]
        if next_start is not None:
            listing["nextPageToken"] = _page_token(next_start)
        return ask.answer(listing)

    def insert_bucket(self, ask: _Ask) -> Response:
        fields = ask.json()
        name = fields.pop("name", None)
        if not isinstance(name, str):
            raise StorageError(400, "required", "Required: the bucket's name")
        with self._passing(ask.call("storage.buckets.create", bucket=name)):
            bucket = self._store.create_bucket(name, _bucket_fields(fields))
        return ask.answer(resources.bucket_resource(bucket, ask.base))

    def get_bucket(self, ask: _Ask) -> Response:
        name = ask.name("bucket")
        with self._passing(ask.call("storage.buckets.get", bucket=name)):
            bucket = self._store.bucket(name, ask.preconditions())
        return ask.answer(resources.bucket_resource(bucket, ask.base))

    def patch_bucket(self, ask: _Ask) -> Response:
        patch = ask.json()
        return self._update_bucket(ask, lambda fields: _bucket_fields(_merge_patch(fields, patch)))

    def update_bucket(self, ask: _Ask) -> Response:
        new = ask.json()
        return self._update_bucket(ask, lambda fields: _bucket_fields({"location": fields["location"]} | new))

    def _update_bucket(self, ask: _Ask, change: Callable[[Fields], Fields]) -> Response:
        name = ask.name("bucket")
        with self._passing(ask.call("storage.buckets.update", bucket=name)):
            bucket = self._store.update_bucket(name, change, ask.preconditions())
        return ask.answer(resources.bucket_resource(bucket, ask.base))

    def delete_bucket(self, ask: _Ask) -> Response:
        name = ask.name("bucket")
        with self._passing(ask.call("storage.buckets.delete", bucket=name)):
            self._store.delete_bucket(name, ask.preconditions())
        return Response(status_code=204)

    def storage_layout(self, ask: _Ask) -> Response:
        name = ask.name("bucket")
        with self._passing(ask.call("storage.objects.list", bucket=name)):
            bucket = self._store.bucket(name)
        return ask.answer(
            {
                "kind": "storage#storageLayout",
                "bucket": name,
                "location": bucket.fields["location"],
                "locationType": bucket.fields.get("locationType", "region"),
                "hierarchicalNamespace": {"enabled": False},
            }
        )

    # Notification configs

    def list_notifications(self, ask: _Ask) -> Response:
        bucket = ask.name("bucket")
        with self._passing(ask.call("storage.buckets.get", bucket=bucket)):
            configs = self._store.notifications(bucket)
        items = [resources.notification_resource(bucket, key, fields, ask.base) for key, fields in configs.items()]
        return ask.answer({"kind": "storage#notifications", **({"items": items} if items else {})})

    def insert_notification(self, ask: _Ask) -> Response:
        bucket = ask.name("bucket")
        fields = _notification_fields(ask.json())
        with self._passing(ask.call("storage.buckets.update", bucket=bucket)):
            identifier, fields = self._store.add_notification(bucket, fields)
        return ask.answer(resources.notification_resource(bucket, identifier, fields, ask.base))

    def get_notification(self, ask: _Ask) -> Response:
        bucket, identifier = ask.name("bucket"), ask.name("notification")
        with self._passing(ask.call("storage.buckets.get", bucket=bucket)):
            fields = self._store.notifications(bucket).get(identifier)
            if fields is None:
                raise no_notification(bucket, identifier)
        return ask.answer(resources.notification_resource(bucket, identifier, fields, ask.base))

    def delete_notification(self, ask: _Ask) -> Response:
        bucket = ask.name("bucket")
        with self._passing(ask.call("storage.buckets.update", bucket=bucket)):
            self._store.delete_notification(bucket, ask.name("notification"))
        return Response(status_code=204)

    # Objects

    def list_objects(self, ask: _Ask) -> Response:
        bucket = ask.name("bucket")
        for parameter in _UNSUPPORTED:
            if ask.query(parameter) not in {None, "", "false", "False"}:
                raise invalid(f"The local Cloud Storage does not know the parameter {parameter} of a listing.")
        delimiter = ask.query("delimiter") or ""
        glob = ask.query("matchGlob")
        if glob and delimiter not in {"", "/"}:
            raise invalid(f"With matchGlob the delimiter must be '/', not {delimiter!r}.")
        matching = matcher(glob) if glob else None
        with self._passing(ask.call("storage.objects.list", bucket=bucket)):
            page = self._store.list(
                bucket,
                prefix=ask.query("prefix") or "",
                delimiter=delimiter,
                start=max(ask.query("startOffset") or "", _page_start(ask)),
                end=ask.query("endOffset") or None,
                include_trailing_delimiter=ask.flag("includeTrailingDelimiter"),
                limit=_page_size(ask),
                matching=matching,
                look_at=self._names_for_a_page() if matching else None,
            )
        listing: Resource = {"kind": "storage#objects"}
        if page.next_start is not None:
            listing["nextPageToken"] = _page_token(page.next_start)
        if page.prefixes:
            listing["prefixes"] = page.prefixes
        if page.objects:
            listing["items"] = [resources.object_resource(stored, ask.base) for stored in page.objects]
        return ask.answer(listing)

    def get_object(self, ask: _Ask) -> Response:
        if ask.query("alt") == "media":
            return self.download(ask)
        bucket, name = ask.name("bucket"), ask.name("object")
        with self._passing(ask.call("storage.objects.get", bucket=bucket, object=name)):
            stored = self._store.get(
                bucket, name, generation=ask.number("generation"), preconditions=ask.preconditions()
            )
        return ask.answer_object(stored)

    def patch_object(self, ask: _Ask) -> Response:
        patch = ask.json()
        return self._update_object(ask, lambda fields: _merge_patch(fields, patch))

    def update_object(self, ask: _Ask) -> Response:
        new = ask.json()
        return self._update_object(ask, lambda _: new)

    def _update_object(self, ask: _Ask, change: Callable[[Fields], Fields]) -> Response:
        bucket, name = ask.name("bucket"), ask.name("object")
        with self._passing(ask.call("storage.objects.update", bucket=bucket, object=name)):
            changed = self._store.update(
                bucket, name, change, generation=ask.number("generation"), preconditions=ask.preconditions()
            )
            stored = self._changed(ask, changed)
        return ask.answer_object(stored)

    def delete_object(self, ask: _Ask) -> Response:
        bucket, name = ask.name("bucket"), ask.name("object")
        with self._passing(ask.call("storage.objects.delete", bucket=bucket, object=name)):
            events = self._store.delete(
                bucket, name, generation=ask.number("generation"), preconditions=ask.preconditions()
            )
            self._announce(ask, events)
        return Response(status_code=204)

    def rewrite_object(self, ask: _Ask) -> Response:
        """https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite; a token is the number of calls before."""
        method, kind = "storage.objects.rewrite", "storage#rewriteResponse"
        calls = 1 + (ask.number("rewriteToken") or 0)
        if calls < self._rewrite_calls():
            bucket, name = ask.name("bucket"), ask.name("object")
            with self._passing(self._copy_call(ask, method)):
                size = self._store.get(bucket, name, generation=ask.number("sourceGeneration")).size
            unfinished = {"done": False, "rewriteToken": str(calls), "totalBytesRewritten": "0"}
            return ask.answer({"kind": kind, "objectSize": str(size), **unfinished})
        stored = self._copy(ask, method)
        return ask.answer(
            {
                "kind": kind,
                "totalBytesRewritten": str(stored.size),
                "objectSize": str(stored.size),
                "done": True,
                "resource": resources.object_resource(stored, ask.base),
            }
        )

    def copy_object(self, ask: _Ask) -> Response:
        return ask.answer_object(self._copy(ask, "storage.objects.copy"))

    def _copy(self, ask: _Ask, method: str) -> StoredObject:
        source = ask.name("bucket"), ask.name("object")
        destination = ask.name("destination_bucket"), ask.name("destination_object")
        body = ask.json()
        # The Python client always sends the new object's name; only what can be set counts as metadata.
        fields = body if any(key in body for key in WRITABLE_FIELDS) else None
        with self._passing(self._copy_call(ask, method)):
            changed = self._store.rewrite(
                source,
                destination,
                fields,
                source_generation=ask.number("sourceGeneration"),
                source_preconditions=ask.preconditions("Source"),
                preconditions=ask.preconditions(),
            )
            return self._changed(ask, changed)

    def _copy_call(self, ask: _Ask, method: str) -> Call:
        return ask.call(
            method,
            bucket=ask.name("bucket"),
            object=ask.name("object"),
            destination_bucket=ask.name("destination_bucket"),
            destination_object=ask.name("destination_object"),
        )

    def move_object(self, ask: _Ask) -> Response:
        bucket, name, new_name = ask.name("bucket"), ask.name("object"), ask.name("destination_object")
        call = ask.call(
            "storage.objects.move", bucket=bucket, object=name, destination_bucket=bucket, destination_object=new_name
        )
        with self._passing(call):
            changed = self._store.move(
                bucket,
                name,
                new_name,
                source_preconditions=ask.preconditions("Source"),
                preconditions=ask.preconditions(),
            )
            stored = self._changed(ask, changed)
        return ask.answer_object(stored)

    def compose_object(self, ask: _Ask) -> Response:
        bucket, name = ask.name("bucket"), ask.name("object")
        body = ask.json()
        try:
            sources = [_compose_source(source) for source in body["sourceObjects"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise StorageError(400, "required", "Required: sourceObjects, each with a name") from error
        with self._passing(ask.call("storage.objects.compose", bucket=bucket, object=name)):
            changed = self._store.compose(bucket, sources, name, body.get("destination") or {}, ask.preconditions())
            stored = self._changed(ask, changed)
        return ask.answer_object(stored)

    # Downloads

    def download(self, ask: _Ask) -> Response:
        try:
            return self._download(
                ask, ask.call("storage.objects.get", bucket=ask.name("bucket"), object=ask.name("object"))
            )
        except ApiError as error:
            if error.status == 304:  # noqa: PLR2004
                raise
            # To a download Google answers the bare message.
            return PlainTextResponse(error.message, error.status, media_type="text/html")

    def _download(self, ask: _Ask, call: Call, overrides: dict[str, str] | None = None) -> Response:
        self._gate.enter(call)
        stored, file = self._store.open(
            call.bucket or "",
            call.object or "",
            generation=ask.number("generation"),
            preconditions=ask.preconditions(),
        )
        try:
            self._gate.leave(call)
        except BaseException:
            file.close()
            raise
        return _media_response(
            stored, file, ask.request.headers.get("range"), _media_headers(stored) | (overrides or {})
        )

    def signed_download(self, ask: _Ask) -> Response:
        """The download of the XML API, which here needs a signed URL."""
        request = ask.request
        query = request.query_params.multi_items()
        bucket, name = ask.name("bucket"), ask.name("object")
        try:
            signer = signer_of_url(self._signers, request.method, request.scope["path"], query, request.headers)
            call = Call(identity=signer, method="storage.objects.get", bucket=bucket, object=name)
            return self._download(ask, call, _response_overrides(request))
        except SignedUrlError as error:
            return _xml_error(error.status, error.reason, error.message, error.details)
        except ApiError as error:
            return _xml_error(error.status, _XML_CODES.get(error.status, "InvalidArgument"), error.message, {})

    # Uploads

    async def upload(self, request: Request) -> Response:
        """Insert an object: the whole content in this request, or the beginning of a resumable upload."""
        ask = _Ask(request=request)
        kind = ask.query("uploadType")
        if kind == "resumable":
            return await run_in_threadpool(self._begin_upload, _Ask(request=request, body=await request.body()))
        if kind not in {"media", "multipart"}:
            raise invalid(f"uploadType is {kind!r}; allowed are media, multipart and resumable")
        content = await run_in_threadpool(self._store.new_content)
        content_type = request.headers.get("content-type")
        try:
            reader = MultipartReader(content_type or "", content.write) if kind == "multipart" else None
            rest = await _spool(request.stream(), content.write if reader is None else reader.feed)
            return await run_in_threadpool(self._finish_single_upload, ask, content, content_type, reader, rest)
        except BaseException:
            content.discard()
            raise

    def _finish_single_upload(
        self, ask: _Ask, content: Content, content_type: str | None, reader: MultipartReader | None, rest: bytes
    ) -> Response:
        resource: Fields = {}
        if reader is None:
            content.write(rest)
        else:
            reader.feed(rest)
            reader.finish()
            resource, content_type = reader.resource, reader.content_type
        target = _Target.of(ask, resource, content_type)
        with self._passing(target.call(ask)):
            stored = self._insert(ask, target, content)
        return ask.answer_object(stored)

    def _insert(self, ask: _Ask, target: "_Target", content: Content) -> StoredObject:
        content.verify(crc32c=target.resource.get("crc32c"), md5=target.resource.get("md5Hash"))
        content.verify(**_hash_header(ask.request))
        return self._changed(
            ask, self._store.insert(target.bucket, target.name, content, target.fields, target.preconditions)
        )

    def _begin_upload(self, ask: _Ask) -> Response:
        target = _Target.of(ask, ask.json(), ask.request.headers.get("x-upload-content-type"))
        declared_size = ask.request.headers.get("x-upload-content-length")
        call = target.call(ask)
        self._gate.enter(call)  # and leaves it when the last byte is stored
        self._store.check_insert(target.bucket, target.name, target.preconditions)
        upload = _Upload(
            target=target,
            declared_size=None if declared_size is None else _whole_number("X-Upload-Content-Length", declared_size),
            content=self._store.new_content(),
            call=call,
        )
        identifier = secrets.token_urlsafe(24)
        self._uploads[identifier] = upload
        location = f"{ask.base}{ask.request.scope['path']}?uploadType=resumable&name={quote(target.name, safe='')}"
        return Response(headers={"location": f"{location}&upload_id={identifier}", "x-guploader-uploadid": identifier})

    async def resume_upload(self, request: Request) -> Response:
        """More of a resumable upload, or the question how much has arrived."""
        ask = _Ask(request=request)
        upload = self._upload(ask)
        async with upload.busy:
            if upload.finished is not None:
                return await run_in_threadpool(ask.answer_object, upload.finished)
            part = _Part.parse(request.headers.get("content-range"), upload.content.size)
            if part.start > upload.content.size:
                raise invalid(
                    f"The upload has {upload.content.size} bytes so far; it cannot go on at byte {part.start}."
                )
            writer = _PartWriter(upload.content, skip=upload.content.size - part.start)
            rest = await _spool(request.stream(), writer.write)
            return await run_in_threadpool(self._continue_upload, ask, upload, part, writer, rest)

    def _continue_upload(
        self, ask: _Ask, upload: _Upload, part: "_Part", writer: "_PartWriter", rest: bytes
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
            upload.finished = self._insert(ask, upload.target, upload.content)
        except BaseException:
            # Nothing can mend it: what arrived is not what was sent, or a precondition does not hold any more.
            upload.content.discard()
            self._uploads.pop(ask.query("upload_id") or "", None)
            raise
        self._gate.leave(upload.call)
        return ask.answer_object(upload.finished)

    def cancel_upload(self, ask: _Ask) -> Response:
        upload = self._upload(ask)
        del self._uploads[ask.query("upload_id") or ""]
        if upload.finished is None:
            upload.content.discard()
        return Response(status_code=499)

    def _upload(self, ask: _Ask) -> _Upload:
        upload = self._uploads.get(ask.query("upload_id") or "")
        if upload is None:
            raise StorageError(404, "notFound", "There is no such resumable upload; begin it again.")
        return upload

    # Signatures

    def sign_blob(self, ask: _Ask) -> Response:
        """https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob."""
        account, colon, verb = ask.name("account").rpartition(":")
        if not colon or verb != "signBlob":
            raise StorageError(404, "notFound", f"Unknown method {ask.request.url.path}")
        try:
            payload = base64.b64decode(ask.json()["payload"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise invalid("signBlob needs a payload in base64") from error
        with self._passing(ask.call("iam.serviceAccounts.signBlob", resource=account)):
            signature = self._signers.sign(account, payload)
        return ask.answer({"keyId": "local", "signedBlob": base64.b64encode(signature).decode()})


# Requests


def _route(method: str, path: str, handler: Callable[[_Ask], Response]) -> Route:
    async def endpoint(request: Request) -> Response:
        body = await request.body() if method in {"POST", "PUT", "PATCH"} else b""
        return await run_in_threadpool(handler, _Ask(request=request, body=body))

    return Route(path, endpoint, methods=[method])


async def _spool(chunks: AsyncIterator[bytes], sink: Callable[[bytes], None]) -> bytes:
    """Pass a body on in blocks from a worker thread; the last block, which may be all of it, is returned."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        if len(pending) >= _BLOCK:
            block = bytes(pending)
            pending.clear()
            await run_in_threadpool(sink, block)
    return bytes(pending)


def _whole_number(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise invalid(f"Invalid value {text!r} for {name}: it must be a whole number")
    return int(text)


def _page_size(ask: _Ask) -> int:
    asked = ask.number("maxResults")
    if asked == 0:
        raise invalid(f"Invalid value 0 for maxResults: it must be 1 to {MAX_PAGE}")
    return min(asked or MAX_PAGE, MAX_PAGE)


def _page_token(start: str) -> str:
    return base64.urlsafe_b64encode(start.encode()).decode()


def _page_start(ask: _Ask) -> str:
    token = ask.query("pageToken") or ""
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError as error:
        raise invalid(f"Invalid pageToken {token!r}") from error


def _hash_header(request: Request) -> dict[str, str | None]:
    """`X-Goog-Hash: crc32c=...,md5=...` of an upload."""
    given = (part.strip().partition("=") for part in request.headers.get("x-goog-hash", "").split(","))
    hashes = {kind: value for kind, _, value in given}
    return {"crc32c": hashes.get("crc32c"), "md5": hashes.get("md5")}


def _bucket_fields(fields: Fields) -> Fields:
    computed = ("kind", "id", "name", "selfLink", "projectNumber", "metageneration", "etag", "timeCreated", "updated")
    return {"location": "US", **{key: value for key, value in fields.items() if key not in computed}}


def _notification_fields(body: Fields) -> Fields:
    topic = body.get("topic")
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        raise invalid(f"topic must be //pubsub.googleapis.com/projects/P/topics/T, not {topic!r}")
    fields = {
        key: body[key]
        for key in ("topic", "payload_format", "event_types", "custom_attributes", "object_name_prefix")
        if body.get(key)
    }
    if fields.get("payload_format") not in {"JSON_API_V1", "NONE"}:
        raise invalid(f"payload_format must be JSON_API_V1 or NONE, not {body.get('payload_format')!r}")
    events = fields.get("event_types", [])
    if not isinstance(events, list) or not all(event in sorted(_EVENTS) for event in cast("list[object]", events)):
        raise invalid(f"event_types must be some of {sorted(_EVENTS)}, not {events!r}")
    attributes = fields.get("custom_attributes", {})
    if not isinstance(attributes, dict) or not all(
        isinstance(value, str) for value in cast("Fields", attributes).values()
    ):
        raise invalid(f"custom_attributes must be an object of texts, not {attributes!r}")
    if not isinstance(fields.get("object_name_prefix", ""), str):
        raise invalid(f"object_name_prefix must be text, not {fields['object_name_prefix']!r}")
    return fields


def _merge_patch(fields: Fields, patch: Fields) -> Fields:
    """JSON merge patch (RFC 7396): null deletes."""
    merged = dict(fields)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = _merge_patch(cast("Fields", old) if isinstance(old, dict) else {}, cast("Fields", value))
        else:
            merged[key] = value
    return merged


def _compose_source(source: Mapping[str, Any]) -> ComposeSource:
    def number(fields: Mapping[str, Any], key: str) -> int | None:
        return None if fields.get(key) is None else _whole_number(key, str(fields[key]))

    conditions = source.get("objectPreconditions") or {}
    return ComposeSource(
        name=source["name"],
        generation=number(source, "generation"),
        preconditions=Preconditions(generation_match=number(conditions, "ifGenerationMatch")) if conditions else ALWAYS,
    )


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


# Answers


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
    if end - start <= _BLOCK:
        with file:
            file.seek(start)
            return _MediaResponse(file.read(end - start), status, headers)
    return _MediaStream(_blocks(file, start, end), status, headers)


def _blocks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end and (block := file.read(min(_BLOCK, end - start))):
            start += len(block)
            yield block


def _response_overrides(request: Request) -> dict[str, str]:
    """What a signed URL wants of the answer's headers."""
    given = {
        name: request.query_params[f"response-{name}"]
        for name in ("content-type", "content-disposition")
        if request.query_params.get(f"response-{name}")
    }
    for name, value in given.items():
        if not value.isprintable():
            raise invalid(f"response-{name} must be text without control characters, not {value!r}")
    return given


def _media_headers(stored: StoredObject) -> dict[str, str]:
    hashes = [f"crc32c={stored.crc32c}", *([f"md5={stored.md5}"] if stored.md5 else [])]
    headers = {
        "content-type": stored.fields.get("contentType", _DEFAULT_CONTENT_TYPE),
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


def _json_response(resource: Resource, status: int = 200) -> Response:
    body = json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, media_type="application/json; charset=UTF-8")


def _error_response(status: int, reason: str, message: str) -> Response:
    if status == 304:  # noqa: PLR2004
        return Response(status_code=304)
    detail: Resource = {"message": message, "domain": "global", "reason": reason}
    if reason == "conditionNotMet":
        detail |= {"locationType": "header", "location": "If-Match"}
    return _json_response({"error": {"code": status, "message": message, "errors": [detail]}}, status)


async def _answer_error(_: Request, error: Exception) -> Response:
    known = cast("ApiError", error)
    return _error_response(known.status, known.reason, known.message)


async def _answer_unicode_error(_: Request, error: Exception) -> Response:
    return _error_response(400, "invalid", f"A name or a field is no valid text in UTF-8: {error}")


async def _answer_nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


async def _answer_unknown_path(request: Request, error: Exception) -> Response:
    status: int = getattr(error, "status_code", 404)
    message = f"The local Cloud Storage does not know {request.method} {request.scope['path']}"
    return _error_response(status, "notFound", message)


_XML_CODES = {
    304: "NotModified",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def _xml_error(status: int, code: str, message: str, details: Mapping[str, str]) -> Response:
    """https://cloud.google.com/storage/docs/xml-api/reference-status#http-status-and-error-codes."""
    elements = {"Code": code, "Message": message, **details}
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error>{inner}</Error>"
    return Response(body.encode(), status, media_type="application/xml; charset=UTF-8")
