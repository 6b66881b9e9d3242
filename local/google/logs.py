"""Cloud Logging's `entries:list`, answered from what the programs wrote.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list. Structured lines alone are entries here, without
their `resource`. A line does not say when it was written: it gets the time of its file, which is that of the last one.
Of the query language there are `=` and `>=`, joined by AND, with alternatives in brackets; anything else is refused.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.google.gate import ApiError, Call, Gate
from local.google.identity import identity_of
from local.google.rpc import RefusedError, status_word

LIST: Final = "logging.logEntries.list"
MAX_FILTER: Final = 20_000
MAX_PAGE: Final = 1000

_SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_FIELD = r"severity|timestamp|jsonPayload\.\w+"
_VALUE = r'"[^"\\]*"|[\w.+-]+'
_COMPARISON = re.compile(rf"(?P<field>{_FIELD}) *(?P<how>>=|=) *(?:(?P<one>{_VALUE})|\((?P<any>(?:{_VALUE}| OR )+)\))")

Entry = dict[str, Any]
Query = list[Callable[[Entry], bool]]


def log_routes(files: Callable[[], Iterable[Path]], *, gate: Gate) -> list[Route]:
    """The route of `entries:list` over log files, for an application behind :class:`local.google.identity.IdentityMiddleware`."""

    async def handle(request: Request) -> Response:
        body = await request.body()
        try:
            return JSONResponse(await run_in_threadpool(answer, identity_of(request.scope), body))
        except ApiError as error:
            status = {"error": {"code": error.status, "message": error.message, "status": status_word(error)}}
            return JSONResponse(status, status_code=error.status)

    def answer(identity: str | None, body: bytes) -> Mapping[str, object]:
        request = _object(body)
        query, size, start = _query(request.get("filter")), _page_size(request), _start(request)
        if request.get("orderBy") != "timestamp desc":
            raise _invalid(f"orderBy is {request.get('orderBy')!r}; the local cloud knows 'timestamp desc'.")
        match request.get("resourceNames"):
            case [str(project)] if re.fullmatch("projects/[^/]+", project):
                call = Call(identity=identity, method=LIST, resource=project)
            case names:
                raise _invalid(f"resourceNames is {names!r}; the local cloud knows one project.")
        gate.enter(call)
        found = [entry for entry in _entries(files()) if all(holds(entry) for holds in query)]
        gate.leave(call)
        end = start + size
        return {"entries": found[start:end]} | ({"nextPageToken": str(end)} if end < len(found) else {})

    return [Route("/v2/entries:list", handle, methods=["POST"])]


def _entries(files: Iterable[Path]) -> Iterator[Entry]:
    """The newest first."""
    written = sorted(((file.stat().st_mtime, file) for file in files), reverse=True)
    for seconds, file in written:
        timestamp = datetime.fromtimestamp(seconds, UTC).isoformat()
        for line in reversed(file.read_text(errors="replace").splitlines()):
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(fields, dict) and fields.get("severity") in _SEVERITIES:
                payload = cast("dict[str, Any]", fields)
                yield {"timestamp": timestamp, "severity": payload.pop("severity"), "jsonPayload": payload}


def _query(text: object) -> Query:
    if not isinstance(text, str) or len(text) > MAX_FILTER:
        raise _invalid(f"filter must be text of at most {MAX_FILTER} characters.")
    return [_comparison(part) for part in text.split(" AND ")]


def _comparison(text: str) -> Callable[[Entry], bool]:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise _invalid(f"Unparseable filter: the local cloud does not know {text!r}.")
    field, least = match["field"], match["how"] == ">="
    allowed = [_comparable(field, value) for value in re.findall(_VALUE, match["one"] or match["any"]) if value != "OR"]

    def holds(entry: Entry) -> bool:
        outer, _, inner = field.partition(".")
        value = entry[outer].get(inner) if inner else entry[outer]
        if value is None:
            return False
        found = _comparable(field, str(value))
        return any(type(found) is type(one) and (found >= one if least else found == one) for one in allowed)

    return holds


def _comparable(field: str, text: str) -> Any:  # noqa: ANN401 - what can be compared with its like
    text = text.strip('"')
    try:
        match field:
            case "severity":
                return _SEVERITIES.index(text)
            case "timestamp":
                return datetime.fromisoformat(text).astimezone(UTC)
            case _:
                return float(text) if re.fullmatch(r"[\d.]+", text) else text.casefold()
    except ValueError:
        raise _invalid(f"{field} cannot be compared with {text!r}.") from None


def _page_size(request: Mapping[str, object]) -> int:
    size = request.get("pageSize", 50)
    if not isinstance(size, int) or not 0 < size <= MAX_PAGE:
        raise _invalid(f"pageSize is {size!r}; allowed is a number from 1 to {MAX_PAGE}.")
    return size


def _start(request: Mapping[str, object]) -> int:
    token = str(request.get("pageToken", "0"))
    if not token.isdecimal():
        raise _invalid(f"pageToken is {token!r}, which no answer gave.")
    return int(token)


def _object(body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise _invalid("Invalid JSON payload received. It must be an object.")
    return cast("Mapping[str, object]", value)


def _invalid(message: str) -> RefusedError:
    return RefusedError("INVALID_ARGUMENT", message)
