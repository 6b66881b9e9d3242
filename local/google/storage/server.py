"""The JSON API of Cloud Storage over an :class:`ObjectStore`, and downloads by signed URL.

https://cloud.google.com/storage/docs/json_api/v1. A request's body is read in the event loop; everything that touches
the disk, the gate or Pub/Sub runs in worker threads.
"""

import base64
from collections.abc import Callable
from typing import cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.google.gate import ApiError, Gate, RequestLog
from local.google.identity import IdentityMiddleware
from local.google.storage.buckets import BucketHandlers
from local.google.storage.media import MediaHandlers, xml_refusal
from local.google.storage.notifications import NotificationHandlers, Notifier, Publish
from local.google.storage.objects import ObjectHandlers
from local.google.storage.policy import Policies
from local.google.storage.records import StorageError, invalid
from local.google.storage.requests import StorageRequest, json_response, passing
from local.google.storage.resources import Resource
from local.google.storage.signing import Signers
from local.google.storage.store import ObjectStore
from local.google.storage.supported import (
    ROUTES,
    check_parameters,
    unsupported,
)
from local.google.storage.uploads import UploadHandlers
from local.google.storage.uploads_multipart import MultipartUploads

_BUCKETS = "/storage/v1/b"
_METHODS = ["DELETE", "GET", "PATCH", "POST", "PUT"]


def storage_app(
    store: ObjectStore,
    *,
    gate: Gate | None = None,
    publish: Publish | None = None,
    signers: Signers | None = None,
    rewrite_calls: Callable[[], int] = lambda: 1,
    names_for_a_page: Callable[[], int | None] = lambda: None,
    policies: Policies = lambda _bucket: (),
) -> Starlette:
    """The application that answers for `store`.

    Every call passes `gate`, notifications go to `publish` after the change is stored and before it is answered, and
    `signers` are the service accounts whose signed URLs are good. Without `publish`, notifications go nowhere. A rewrite takes
    `rewrite_calls` calls; Google's takes several where a large object goes to another location. A listing with `matchGlob`
    looks at `names_for_a_page` names for each page, at all with None; Google does not say at how many it looks.
    `policies(bucket)` are the bindings on a bucket.
    """
    gate, signers = gate or RequestLog(), signers or Signers()
    notifier = Notifier(store, publish)
    buckets = BucketHandlers(store, gate, policies)
    configs = NotificationHandlers(store, gate)
    media = MediaHandlers(store, gate, signers)
    objects = ObjectHandlers(store, gate, notifier, media, rewrite_calls, names_for_a_page)
    uploads = UploadHandlers(store, gate, notifier)
    xml = XmlHandlers(MultipartUploads(store, gate, uploads.insert_parts), media)
    bucket, item = "/storage/v1/b/{bucket}", "/storage/v1/b/{bucket}/o/{object}"
    destination = "/b/{destination_bucket}/o/{destination_object}"
    routes = [
        _route("GET", _BUCKETS, buckets.list_buckets),
        _route("POST", _BUCKETS, buckets.insert_bucket),
        _route("GET", bucket, buckets.get_bucket),
        _route("PATCH", bucket, buckets.patch_bucket),
        _route("PUT", bucket, buckets.update_bucket),
        _route("DELETE", bucket, buckets.delete_bucket),
        _route("GET", bucket + "/storageLayout", buckets.storage_layout),
        _route("GET", bucket + "/iam", buckets.get_iam_policy),
        _route("GET", bucket + "/notificationConfigs", configs.list_notifications),
        _route("POST", bucket + "/notificationConfigs", configs.insert_notification),
        _route("GET", bucket + "/notificationConfigs/{notification}", configs.get_notification),
        _route("DELETE", bucket + "/notificationConfigs/{notification}", configs.delete_notification),
        _route("GET", bucket + "/o", objects.list_objects),
        _route("GET", item, objects.get_object),
        _route("PATCH", item, objects.patch_object),
        _route("PUT", item, objects.update_object),
        _route("DELETE", item, objects.delete_object),
        _route("POST", item + "/rewriteTo" + destination, objects.rewrite_object),
        _route("POST", item + "/copyTo" + destination, objects.copy_object),
        _route("POST", item + "/moveTo/o/{destination_object}", objects.move_object),
        _route("POST", item + "/compose", objects.compose_object),
        _route("GET", "/download" + item, media.download),
        *(
            route
            for upload in ("/upload" + bucket + "/o", "/resumable/upload" + bucket + "/o")
            for route in (
                Route(upload, uploads.upload, methods=["POST"]),
                Route(upload, uploads.resume_upload, methods=["PUT"]),
                _route("DELETE", upload, uploads.cancel_upload),
            )
        ),
        _route("POST", "/v1/projects/-/serviceAccounts/{account}", SignatureHandlers(gate, signers).sign_blob),
        *(Route(f"/storage/v1{path}", _refusing(feature), methods=_METHODS) for path, feature in ROUTES.items()),
        Route("/batch/{rest:path}", _refusing("batch requests"), methods=_METHODS),
        # No bucket has one of these names: what is not found is no object.
        *(
            Route(f"/{name}/{{rest:path}}", _answer_unknown_route, methods=_METHODS)
            for name in ("storage", "upload", "download", "resumable", "v1", "v2")
        ),
        Route("/{bucket}/{object:path}", xml.get, methods=["GET"]),
        Route("/{bucket}/{object:path}", xml.write, methods=["DELETE", "POST", "PUT"]),
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

    Names are decoded once, in :meth:`StorageRequest.name`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._app(scope, receive, send)


class XmlHandlers:
    """Answers the part of the XML API that is supported: multipart uploads, and downloads by signed URL."""

    def __init__(self, multipart: MultipartUploads, media: MediaHandlers) -> None:
        """Hands over to the two."""
        self._multipart = multipart
        self._media = media

    async def write(self, http: Request) -> Response:
        """Of the XML API, multipart uploads alone."""
        try:
            return await self._multipart.answer(http)
        except ApiError as error:
            return xml_refusal(error)

    async def get(self, http: Request) -> Response:
        """Of the XML API, the parts of an upload, and a download by signed URL."""
        if "uploadId" in http.query_params:
            return await self.write(http)
        return await run_in_threadpool(self._media.signed_download, StorageRequest(http=http))


class SignatureHandlers:
    """Answers `signBlob` of the IAM credentials API."""

    def __init__(self, gate: Gate, signers: Signers) -> None:
        """`signers` hold the keys."""
        self._gate = gate
        self._signers = signers

    def sign_blob(self, request: StorageRequest) -> Response:
        """https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob."""
        account, colon, verb = request.name("account").rpartition(":")
        if not colon or verb != "signBlob":
            raise StorageError(404, "notFound", f"Unknown method {request.http.url.path}")
        try:
            payload = base64.b64decode(request.json()["payload"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise invalid("signBlob needs a payload in base64") from error
        with passing(self._gate, request.call("iam.serviceAccounts.signBlob", resource=account)):
            signature = self._signers.sign(account, payload)
        return request.answer({"keyId": "local", "signedBlob": base64.b64encode(signature).decode()})


def _route(method: str, path: str, handler: Callable[[StorageRequest], Response]) -> Route:
    new_bucket = (method, path) == ("POST", _BUCKETS)

    async def endpoint(http: Request) -> Response:
        check_parameters(http.query_params, http.headers, new_bucket=new_bucket)
        body = await http.body() if method in {"POST", "PUT", "PATCH"} else b""
        return await run_in_threadpool(handler, StorageRequest(http=http, body=body))

    return Route(path, endpoint, methods=[method])


def _refusing(feature: str) -> Callable[[Request], Response]:
    def endpoint(http: Request) -> Response:
        raise unsupported(feature, f"{http.method} {http.scope['path']}")

    return endpoint


def _error_response(status: int, reason: str, message: str) -> Response:
    if status == 304:  # noqa: PLR2004
        return Response(status_code=304)
    detail: Resource = {"message": message, "domain": "global", "reason": reason}
    if reason == "conditionNotMet":
        detail |= {"locationType": "header", "location": "If-Match"}
    return json_response({"error": {"code": status, "message": message, "errors": [detail]}}, status)


async def _answer_error(_: Request, error: Exception) -> Response:
    known = cast("ApiError", error)
    return _error_response(known.status, known.reason, known.message)


async def _answer_unicode_error(_: Request, error: Exception) -> Response:
    return _error_response(400, "invalid", f"A name or a field is no valid text in UTF-8: {error}")


async def _answer_nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


async def _answer_unknown_path(http: Request, error: Exception) -> Response:
    return _unknown_path(http, getattr(error, "status_code", 404))


async def _answer_unknown_route(http: Request) -> Response:
    return _unknown_path(http, 404)


def _unknown_path(http: Request, status: int) -> Response:
    message = f"The local Cloud Storage does not know {http.method} {http.scope['path']}"
    return _error_response(status, "notFound", message)
