"""A request to the local Cloud Storage: its parameters, preconditions and body, and the answer in JSON."""

import base64
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from local.google.gate import Call, Gate
from local.google.identity import base_url, identity_of
from local.google.storage import resources
from local.google.storage.records import (
    MAX_PAGE,
    Fields,
    Preconditions,
    StorageError,
    StoredObject,
    condition_not_met,
    invalid,
)
from local.google.storage.resources import Resource

DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"
BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class StorageRequest:
    """A request with its body."""

    http: Request
    body: bytes = b""

    @property
    def base(self) -> str:
        """The URL of this server as the caller sees it."""
        return base_url(self.http.scope)

    def name(self, parameter: str) -> str:
        """A bucket's or an object's name from the path."""
        return unquote_to_bytes(self.http.path_params[parameter]).decode()

    def query(self, parameter: str) -> str | None:
        """A parameter of the query; None without it."""
        return self.http.query_params.get(parameter)

    def flag(self, parameter: str) -> bool:
        """Whether a parameter of the query is true."""
        return (self.query(parameter) or "").lower() == "true"

    def number(self, parameter: str) -> int | None:
        """A parameter of the query that is a whole number; None without it."""
        text = self.query(parameter)
        return None if text is None else whole_number(parameter, text)

    def preconditions(self, source: str = "") -> Preconditions:
        """The preconditions on the object, or with "Source" on the source object."""

        def number(condition: str) -> int | None:
            """A parameter of the query that is a whole number; None without it."""
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

    def check_etag(self, etag: str) -> None:
        """Hold a request that only reads to its `If-Match` and `If-None-Match`.

        Raises:
            StorageError: 412 or 304.
        """
        match, not_match = (_etags(self.http.headers.get(name)) for name in ("if-match", "if-none-match"))
        if match is not None and not match & {etag, "*"}:
            raise condition_not_met()
        if not_match is not None and not_match & {etag, "*"}:
            raise StorageError(304, "notModified", "Not Modified")

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
        """The call for the gate."""
        return Call(
            identity=identity_of(self.http.scope),
            method=method,
            only_if_absent=self.query("ifGenerationMatch") == "0",
            **about,
        )

    def answer(self, resource: Resource) -> Response:
        """The answer in JSON, with the fields that the request selects."""
        fields = self.query("fields")
        if fields:
            resource = resources.partial_response(resource, fields)
        return json_response(resource)

    def answer_object(self, stored: StoredObject) -> Response:
        """The answer with an object's resource."""
        return self.answer(resources.object_resource(stored, self.base))


@contextmanager
def passing(gate: Gate, call: Call) -> Generator[None]:
    """Enter the gate, do the block, leave the gate unless the block failed."""
    gate.enter(call)
    yield
    gate.leave(call)


def whole_number(name: str, text: str) -> int:
    """Parse a whole number.

    Raises:
        StorageError: 400.
    """
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise invalid(f"Invalid value {text!r} for {name}: it must be a whole number")
    return int(text)


def _etags(header: str | None) -> set[str] | None:
    return None if header is None else {etag.strip().strip('"') for etag in header.split(",")}


def page_size(request: StorageRequest) -> int:
    """How many items a page may have."""
    asked = request.number("maxResults")
    if asked == 0:
        raise invalid(f"Invalid value 0 for maxResults: it must be 1 to {MAX_PAGE}")
    return min(asked or MAX_PAGE, MAX_PAGE)


def page_token(start: str) -> str:
    """The token for a page that begins at `start`."""
    return base64.urlsafe_b64encode(start.encode()).decode()


def page_start(request: StorageRequest) -> str:
    """The name at which the page begins."""
    token = request.query("pageToken") or ""
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError as error:
        raise invalid(f"Invalid pageToken {token!r}") from error


def json_response(resource: Resource, status: int = 200) -> Response:
    """A response in JSON."""
    body = json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, media_type="application/json; charset=UTF-8")


def merge_patch(fields: Fields, patch: Fields) -> Fields:
    """JSON merge patch (RFC 7396): null deletes."""
    merged = dict(fields)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = merge_patch(cast("Fields", old) if isinstance(old, dict) else {}, cast("Fields", value))
        else:
            merged[key] = value
    return merged
