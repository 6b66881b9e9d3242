"""Requests on objects."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from local.google.gate import Call, Gate
from local.google.storage import resources
from local.google.storage.glob import matcher
from local.google.storage.media import MediaHandlers
from local.google.storage.notifications import Notifier
from local.google.storage.records import (
    ALWAYS,
    WRITABLE_FIELDS,
    ComposeSource,
    Fields,
    Preconditions,
    StorageError,
    StoredObject,
    invalid,
)
from local.google.storage.requests import (
    StorageRequest,
    merge_patch,
    page_size,
    page_start,
    page_token,
    passing,
    whole_number,
)
from local.google.storage.resources import Resource
from local.google.storage.store import ObjectStore
from local.google.storage.supported import (
    check_custom_time,
    check_object_fields,
    unsupported,
)

_UNSUPPORTED = ("filter",)


class ObjectHandlers:
    """Answers requests on objects; their contents are answered by :class:`MediaHandlers`."""

    def __init__(
        self,
        store: ObjectStore,
        gate: Gate,
        notifier: Notifier,
        media: MediaHandlers,
        rewrite_calls: Callable[[], int],
        names_for_a_page: Callable[[], int | None],
    ) -> None:
        """For `rewrite_calls` and `names_for_a_page` see :func:`local.google.storage.server.storage_app`."""
        self._store = store
        self._gate = gate
        self._notifier = notifier
        self._media = media
        self._rewrite_calls = rewrite_calls
        self._names_for_a_page = names_for_a_page

    def list_objects(self, request: StorageRequest) -> Response:
        """Answer `objects.list`."""
        bucket = request.name("bucket")
        for parameter in _UNSUPPORTED:
            if request.query(parameter) not in {None, "", "false", "False"}:
                raise unsupported(f"{parameter} in a listing", f"the parameter {parameter}")
        delimiter = request.query("delimiter") or ""
        glob = request.query("matchGlob")
        if glob and delimiter not in {"", "/"}:
            raise invalid(f"With matchGlob the delimiter must be '/', not {delimiter!r}.")
        matching = matcher(glob) if glob else None
        with passing(self._gate, request.call("storage.objects.list", bucket=bucket)):
            page = self._store.list(
                bucket,
                prefix=request.query("prefix") or "",
                delimiter=delimiter,
                start=max(request.query("startOffset") or "", page_start(request)),
                end=request.query("endOffset") or None,
                include_trailing_delimiter=request.flag("includeTrailingDelimiter"),
                limit=page_size(request),
                matching=matching,
                look_at=self._names_for_a_page() if matching else None,
            )
        listing: Resource = {"kind": "storage#objects"}
        if page.next_start is not None:
            listing["nextPageToken"] = page_token(page.next_start)
        if page.prefixes:
            listing["prefixes"] = page.prefixes
        if page.objects:
            listing["items"] = [resources.object_resource(stored, request.base) for stored in page.objects]
        return request.answer(listing)

    def get_object(self, request: StorageRequest) -> Response:
        """Answer `objects.get`."""
        if request.query("alt") == "media":
            return self._media.download(request)
        bucket, name = request.name("bucket"), request.name("object")
        with passing(self._gate, request.call("storage.objects.get", bucket=bucket, object=name)):
            stored = self._store.get(
                bucket, name, generation=request.number("generation"), preconditions=request.preconditions()
            )
            request.check_etag(resources.etag(stored.generation, stored.metageneration))
        return request.answer_object(stored)

    def patch_object(self, request: StorageRequest) -> Response:
        """Answer `objects.patch`."""
        patch = request.json()
        check_object_fields(patch)
        return self._update_object(request, lambda fields: merge_patch(fields, patch))

    def update_object(self, request: StorageRequest) -> Response:
        """Answer `objects.update`."""
        new = request.json()
        check_object_fields(new)
        return self._update_object(request, lambda _: new)

    def _update_object(self, request: StorageRequest, change: Callable[[Fields], Fields]) -> Response:
        bucket, name = request.name("bucket"), request.name("object")

        def checked(fields: Fields) -> Fields:
            changed = change(fields)
            check_custom_time(fields, changed)
            return changed

        with passing(self._gate, request.call("storage.objects.update", bucket=bucket, object=name)):
            changed = self._store.update(
                bucket, name, checked, generation=request.number("generation"), preconditions=request.preconditions()
            )
            stored = self._notifier.changed(request, changed)
        return request.answer_object(stored)

    def delete_object(self, request: StorageRequest) -> Response:
        """Answer `objects.delete`."""
        bucket, name = request.name("bucket"), request.name("object")
        with passing(self._gate, request.call("storage.objects.delete", bucket=bucket, object=name)):
            events = self._store.delete(
                bucket, name, generation=request.number("generation"), preconditions=request.preconditions()
            )
            self._notifier.announce(request, events)
        return Response(status_code=204)

    def rewrite_object(self, request: StorageRequest) -> Response:
        """https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite; a token is the number of calls before."""
        method, kind = "storage.objects.rewrite", "storage#rewriteResponse"
        calls = 1 + (request.number("rewriteToken") or 0)
        if calls < self._rewrite_calls():
            bucket, name = request.name("bucket"), request.name("object")
            with passing(self._gate, self._copy_call(request, method)):
                size = self._store.get(bucket, name, generation=request.number("sourceGeneration")).size
            unfinished = {"done": False, "rewriteToken": str(calls), "totalBytesRewritten": "0"}
            return request.answer({"kind": kind, "objectSize": str(size), **unfinished})
        stored = self._copy(request, method)
        return request.answer(
            {
                "kind": kind,
                "totalBytesRewritten": str(stored.size),
                "objectSize": str(stored.size),
                "done": True,
                "resource": resources.object_resource(stored, request.base),
            }
        )

    def copy_object(self, request: StorageRequest) -> Response:
        """Answer `objects.copy`."""
        return request.answer_object(self._copy(request, "storage.objects.copy"))

    def _copy(self, request: StorageRequest, method: str) -> StoredObject:
        source = request.name("bucket"), request.name("object")
        destination = request.name("destination_bucket"), request.name("destination_object")
        body = request.json()
        check_object_fields(body)
        # The Python client always sends the new object's name; only what can be set counts as metadata.
        fields = body if any(key in body for key in WRITABLE_FIELDS) else None
        with passing(self._gate, self._copy_call(request, method)):
            changed = self._store.rewrite(
                source,
                destination,
                fields,
                source_generation=request.number("sourceGeneration"),
                source_preconditions=request.preconditions("Source"),
                preconditions=request.preconditions(),
            )
            return self._notifier.changed(request, changed)

    def _copy_call(self, request: StorageRequest, method: str) -> Call:
        return request.call(
            method,
            bucket=request.name("bucket"),
            object=request.name("object"),
            destination_bucket=request.name("destination_bucket"),
            destination_object=request.name("destination_object"),
        )

    def move_object(self, request: StorageRequest) -> Response:
        """Answer `objects.move`."""
        bucket, name, new_name = request.name("bucket"), request.name("object"), request.name("destination_object")
        call = request.call(
            "storage.objects.move", bucket=bucket, object=name, destination_bucket=bucket, destination_object=new_name
        )
        with passing(self._gate, call):
            changed = self._store.move(
                bucket,
                name,
                new_name,
                source_preconditions=request.preconditions("Source"),
                preconditions=request.preconditions(),
            )
            stored = self._notifier.changed(request, changed)
        return request.answer_object(stored)

    def compose_object(self, request: StorageRequest) -> Response:
        """Answer `objects.compose`."""
        bucket, name = request.name("bucket"), request.name("object")
        body = request.json()
        try:
            sources = [_compose_source(source) for source in body["sourceObjects"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise StorageError(400, "required", "Required: sourceObjects, each with a name") from error
        check_object_fields(body.get("destination") or {})
        with passing(self._gate, request.call("storage.objects.compose", bucket=bucket, object=name)):
            changed = self._store.compose(bucket, sources, name, body.get("destination") or {}, request.preconditions())
            stored = self._notifier.changed(request, changed)
        return request.answer_object(stored)


def _compose_source(source: Mapping[str, Any]) -> ComposeSource:
    def number(fields: Mapping[str, Any], key: str) -> int | None:
        return None if fields.get(key) is None else whole_number(key, str(fields[key]))

    conditions = source.get("objectPreconditions") or {}
    return ComposeSource(
        name=source["name"],
        generation=number(source, "generation"),
        preconditions=Preconditions(generation_match=number(conditions, "ifGenerationMatch")) if conditions else ALWAYS,
    )
