"""Reads from Cloud Logging, or from the local cloud, which accepts the same request, why the functions failed.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list. Google's client library is left out: this is the
one request.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from inspection.environment import LOGGING_EMULATOR

Image = tuple[str, int]
"""An image's name in the inbound bucket and its generation."""
About = tuple[str | None, Image]
"""A function (None: any) and the image that it logged about."""

_PAGE = 1000
"""Google's limit."""
_PAGES = 3
"""An image that fails leaves a line for each attempt; what is not among these lines stays without a reason."""
_SECONDS = 10


class LogUnreadableError(Exception):
    """The log cannot be read; the text says why."""


def newest_problems(project: str, wanted: set[About], *, since: datetime) -> dict[About, str]:
    """The last warning or worse that the functions logged about each image; images without one are missing.

    Args:
        project: whose functions.
        wanted: few enough for one request, in which each takes some 20 of the 20,000 characters of a filter.
        since: the log is not searched further back.

    Raises:
        LogUnreadableError: Cloud Logging refuses or cannot be reached.
    """
    generations = sorted({generation for _, (_, generation) in wanted})
    query = (
        f'severity>=WARNING AND timestamp>="{since.isoformat()}" AND jsonPayload.logger=("predict" OR "move") AND '
        # A generation is hardly ever given twice; names, which may hold anything, need no quoting this way.
        f"jsonPayload.generation=({' OR '.join(map(str, generations))})"
    )
    request: dict[str, Any] = {
        "resourceNames": [f"projects/{project}"],
        "filter": query,
        "orderBy": "timestamp desc",
        "pageSize": _PAGE,
    }
    problems: dict[About, str] = {}
    try:
        with _session() as session:
            for _ in range(_PAGES):
                answer = _post(session, request)
                for about, text in _problems_in(answer.get("entries", ())):
                    problems.setdefault(about, text)
                if wanted <= problems.keys() or not answer.get("nextPageToken"):
                    break
                request["pageToken"] = answer["nextPageToken"]
    except (requests.RequestException, GoogleAuthError) as error:
        raise LogUnreadableError(str(error)) from error
    return {about: problems[about] for about in wanted if about in problems}


def _session() -> requests.Session:
    if LOGGING_EMULATOR in os.environ:
        return requests.Session()
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/logging.read"])
    return AuthorizedSession(credentials)


def _post(session: requests.Session, request: Mapping[str, Any]) -> Mapping[str, Any]:
    base = os.environ.get(LOGGING_EMULATOR, "https://logging.googleapis.com")
    response = session.post(f"{base}/v2/entries:list", json=request, timeout=_SECONDS)
    if not response.ok:
        raise LogUnreadableError(f"{response.status_code} {_message(response)}")
    return response.json()


def _message(response: requests.Response) -> str:
    try:
        return response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return response.reason


def _problems_in(entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[About, str]]:
    for entry in entries:
        fields = entry["jsonPayload"]
        image = str(fields.get("image")), int(fields["generation"])  # Cloud Logging keeps every number as a float
        for function in (fields["logger"], None):
            yield (function, image), str(fields.get("message"))
