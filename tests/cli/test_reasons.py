"""What the functions' log is asked for, and what is taken from its answers; the local cloud answers here."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette

from cli.redrive.reasons import About, newest_problems
from inspection.environment import LOGGING_EMULATOR
from local.google.gate import RequestLog
from local.google.http import serve
from local.google.logs import log_routes

IMAGE = ('a "quoted" 部品.jpg', 1_795_000_000_000_001)
AN_HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


def line(message: str, severity: str = "WARNING", image: tuple[str, int] = IMAGE, logger: str = "predict") -> str:
    fields = {"severity": severity, "message": message, "logger": logger, "image": image[0], "generation": image[1]}
    return json.dumps(fields)


@contextmanager
def logged(folder: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> Generator[RequestLog]:
    file, gate = folder / "predict.log", RequestLog()
    file.write_text("\n".join(lines))
    with serve(Starlette(routes=log_routes(lambda: [file], gate=gate))) as server:
        monkeypatch.setenv(LOGGING_EMULATOR, server.url)
        yield gate


def test_the_newest_problem_of_that_function_with_that_very_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        line("older"),
        line("newer", "ERROR"),
        line("classified", "INFO"),
        line("of another name", image=("b.jpg", IMAGE[1])),
        line("of another generation", image=(IMAGE[0], IMAGE[1] + 1)),
        line("of move", logger="move"),
        line("of the review app", logger="review"),
    ]
    wanted: set[About] = {("predict", IMAGE), ("move", IMAGE), (None, IMAGE), ("predict", ("c.jpg", 3))}
    with logged(tmp_path, lines, monkeypatch) as gate:
        problems = newest_problems("factory", wanted, since=AN_HOUR_AGO)
    assert problems == {("predict", IMAGE): "newer", ("move", IMAGE): "of move", (None, IMAGE): "of move"}
    assert len(gate.calls) == 1


def test_the_pages_are_read_until_all_is_known_and_no_more_than_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = ("noisy.jpg", 7)
    lines = [
        *[line("too old")],
        *[line("again", image=noisy)] * 1000,
        line("early"),
        *[line("again", image=noisy)] * 2500,
    ]
    quiet: About = ("predict", IMAGE)
    with logged(tmp_path, lines, monkeypatch) as gate:
        assert newest_problems("factory", {("predict", noisy)}, since=AN_HOUR_AGO) == {("predict", noisy): "again"}
        assert len(gate.calls) == 1
        found = newest_problems("factory", {("predict", noisy), quiet}, since=AN_HOUR_AGO)
        assert found[quiet] == "early", "on the third page"
        gate.clear()
        missing: About = ("predict", ("missing.jpg", 8))
        assert missing not in newest_problems("factory", {("predict", noisy), missing}, since=AN_HOUR_AGO)
        assert len(gate.calls) == 3
