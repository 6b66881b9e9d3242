"""Log lines as Cloud Logging reads them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from inspection.logs import Steps, structured_logger
from inspection.push import NeedsAttentionError, RetryLaterError, answer_failure, failed_request


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    log = structured_logger("test")
    handler = log.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    before = handler.setStream(stream)
    yield stream
    handler.setStream(before)


def test_a_line_is_one_json_object_with_the_fields_beside_the_message(stream: io.StringIO):
    log = structured_logger("test")
    log.warning("moved\n%s", "部品", extra={"fields": {"image": 'a"\n.jpg', "score": 0.5, "folder": None}})
    [line] = stream.getvalue().splitlines()
    assert json.loads(line) == {
        "severity": "WARNING",
        "message": "moved\n部品",
        "logger": "test",
        "image": 'a"\n.jpg',
        "score": 0.5,
        "folder": None,
    }


def test_asking_twice_for_a_logger_does_not_double_its_lines(stream: io.StringIO):
    structured_logger("test")
    structured_logger("test").info("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_an_unexpected_failure_brings_its_stack(stream: io.StringIO):
    def explode() -> None:
        raise KeyError("surprise")

    with pytest.raises(KeyError) as caught:
        explode()
    answer = answer_failure(structured_logger("test"), caught.value, {"image": "a.jpg"})
    assert answer == ("see the log", 500)
    line = json.loads(stream.getvalue())
    assert line["severity"] == "ERROR"
    assert line["image"] == "a.jpg"
    assert "explode" in line["stack_trace"]


def test_every_step_has_its_time_also_one_that_fails():
    steps = Steps()
    with steps.time("read"):
        pass
    with pytest.raises(RuntimeError), steps.time("classify"):
        raise RuntimeError
    assert set(steps.fields) == {"read_ms", "classify_ms"}
    assert all(value >= 0 for value in steps.fields.values())


@pytest.mark.parametrize("status", [None, 408, 409, 429, 499, 500, 502, 503, 504])
def test_a_service_that_is_busy_or_away_is_asked_again(status: int | None):
    failure = failed_request("Reading a.jpg", status=status, answer="busy", check="the weather")
    assert isinstance(failure, RetryLaterError)
    assert "Reading a.jpg" in str(failure)
    assert "busy" in str(failure)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 501])
def test_a_refusal_says_what_to_check(status: int):
    failure = failed_request("Reading a.jpg", status=status, answer="no", check="the role")
    assert isinstance(failure, NeedsAttentionError)
    assert str(status) in str(failure)
    assert "check the role" in str(failure)
    assert "dead letter" in str(failure)
