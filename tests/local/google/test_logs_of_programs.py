"""Cloud Logging's `entries:list` over log files, as any REST client gets its answers."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from starlette.applications import Starlette

from local.google.gate import Call
from local.google.http import serve
from local.google.identity import IdentityMiddleware, identity_path
from local.google.logs import LIST, log_routes
from tests.support.gate import ScriptedGate, refuse

HOUR = 3600.0
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


def line(message: str, severity: str = "WARNING", **fields: object) -> str:
    return json.dumps({"severity": severity, "message": message, **fields})


class Log:
    """The engineer's view of two programs' logs."""

    def __init__(self, url: str, gate: ScriptedGate) -> None:
        self.url = url
        self.gate = gate

    def ask(self, query: str, identity: str | None = None, **others: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 - any JSON
        body: dict[str, Any] = {"resourceNames": ["projects/factory"], "filter": query, "orderBy": "timestamp desc"}
        answer = requests.post(f"{self.url}{identity_path(identity)}/v2/entries:list", json=body | others, timeout=30)
        return answer.status_code, answer.json()

    def messages(self, query: str) -> list[str]:
        code, answer = self.ask(query)
        assert code == 200, answer
        return [entry["jsonPayload"]["message"] for entry in answer["entries"]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    folder = tmp_path_factory.mktemp("logs")
    lines = [
        line("first", "INFO", logger="predict", image="a.jpg", generation=5),
        "Traceback (most recent call last):",
        '{"no severity": 1}',
        "[1]",
        line("second", "WARNING", logger="predict", image='"部品".jpg', generation=6),
        line("third", "CRITICAL", logger="predict"),
    ]
    (folder / "predict.log").write_text("\n".join(lines))
    (folder / "move.log").write_text(line("earlier", "ERROR", logger="move", generation=5) + "\n")
    os.utime(folder / "predict.log", (NOON, NOON))
    os.utime(folder / "move.log", (NOON - HOUR, NOON - HOUR))
    gate = ScriptedGate()
    app = IdentityMiddleware(Starlette(routes=log_routes(lambda: folder.glob("*.log"), gate=gate)))
    with serve(app) as server:
        yield Log(server.url, gate)


@pytest.mark.parametrize(
    ("query", "messages"),
    [
        ("severity>=DEFAULT", ["third", "second", "first", "earlier"]),
        ("severity>=WARNING", ["third", "second", "earlier"]),
        ('severity>=WARNING AND jsonPayload.logger="predict"', ["third", "second"]),
        ('jsonPayload.logger=("move" OR "other")', ["earlier"]),
        ("jsonPayload.generation=(5 OR 7)", ["first", "earlier"]),
        ("jsonPayload.generation=6", ["second"]),
        ('timestamp>="2026-11-21T11:30:00+00:00" AND severity=INFO', ["first"]),
        ('timestamp>="2026-11-21T12:00:01Z"', []),
    ],
)
def test_the_lines_that_a_filter_describes_come_newest_first(log: Log, query: str, messages: list[str]) -> None:
    assert log.messages(query) == messages


def test_an_entry_has_the_fields_that_google_gives_it(log: Log) -> None:
    _, answer = log.ask("jsonPayload.generation=6")
    assert answer["entries"] == [
        {
            "timestamp": "2026-11-21T12:00:00+00:00",
            "severity": "WARNING",
            "jsonPayload": {"message": "second", "logger": "predict", "image": '"部品".jpg', "generation": 6},
        }
    ]


def test_pages_follow_one_another(log: Log) -> None:
    _, first = log.ask("severity>=DEFAULT", pageSize=3)
    _, second = log.ask("severity>=DEFAULT", pageSize=3, pageToken=first["nextPageToken"])
    assert [len(page["entries"]) for page in (first, second)] == [3, 1]
    assert "nextPageToken" not in second


@pytest.mark.parametrize(
    "query",
    [
        "",
        "severity>WARNING",
        "severity>=LOUD",
        "severity>=WARNING OR severity=INFO",
        'NOT jsonPayload.logger="move"',
        'resource.type="cloud_run_revision"',
        'timestamp>="yesterday"',
        'jsonPayload.image="a\\".jpg"',
        "jsonPayload.generation=(5 OR",
        "severity=INFO AND " * 2000,
    ],
)
def test_a_filter_that_is_not_understood_is_refused(log: Log, query: str) -> None:
    code, answer = log.ask(query)
    assert (code, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "other",
    [
        {"orderBy": "timestamp asc"},
        {"resourceNames": []},
        {"resourceNames": ["projects/a", "projects/b"]},
        {"pageSize": 1001},
        {"pageSize": 0},
        {"pageToken": "next"},
        {"filter": None},
    ],
)
def test_whatever_else_is_not_understood_is_refused(log: Log, other: dict[str, Any]) -> None:
    code, answer = log.ask("severity>=INFO", **other)
    assert (code, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_gate_may_refuse_and_knows_who_asks(log: Log) -> None:
    log.gate.clear()
    log.gate.before[LIST] = refuse(403, "forbidden")
    try:
        code, answer = log.ask("severity>=INFO", identity="robot@factory.iam.gserviceaccount.com")
    finally:
        log.gate.before.clear()
    assert (code, answer["error"]["status"]) == (403, "PERMISSION_DENIED")
    [call] = log.gate.calls
    assert call == Call(identity="robot@factory.iam.gserviceaccount.com", method=LIST, resource="projects/factory")
