"""The fuzzing of `make proof` in small, and that it sees what it looks for."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.cloud import storage

import infra.settings
from inspection import message
from tests.proof import fuzz_pictures as pictures
from tests.proof.fuzz import table
from tests.proof.fuzz_functions import fuzz_functions
from tests.proof.fuzz_mutations import NASTY, Fuzzed, as_json, mutated, mutated_bytes
from tests.proof.fuzz_review import fuzz_review
from tests.proof.fuzz_settings import fuzz_settings
from webapp.picture import PictureId

SEED = 7


def test_messages_and_events_at_the_functions() -> None:
    for fuzzed in fuzz_functions(600, SEED):
        assert fuzzed.count == 600
        assert not fuzzed.findings, fuzzed.examples
        assert fuzzed.outcomes["answered 200"] > 100, "many must come through, or nothing behind the door is tried"
        assert fuzzed.outcomes["answered 400"] > 100


def test_pictures_of_each_format() -> None:
    for fuzzed in pictures.fuzz_pictures(60, SEED, formats=pictures.FORMATS):
        assert fuzzed.count == 60
        assert not fuzzed.findings, fuzzed.examples
        assert fuzzed.outcomes.keys() == {"prepared", "refused with a reason"}


def test_files_that_unpack_to_far_more_than_they_are() -> None:
    [fuzzed] = pictures.fuzz_pictures(0, SEED, formats=(pictures.BOMBS,))
    assert fuzzed.count > 80
    assert not fuzzed.findings, fuzzed.examples


def test_stack_config() -> None:
    fuzzed = fuzz_settings(600, SEED)
    assert not fuzzed.findings, fuzzed.examples
    assert fuzzed.outcomes["read"] > 10
    assert fuzzed.outcomes["refused in words"] > 100


def test_requests_at_the_review_app() -> None:
    fuzzed = fuzz_review(600, SEED)
    assert not fuzzed.findings, fuzzed.examples
    assert fuzzed.outcomes["answered 200"] > 50
    assert fuzzed.outcomes["answered 422"] > 50


# What was planted is found.


def test_a_message_that_is_believed_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lone surrogates let through; and generation 0, by which another image is moved than the message is about."""
    monkeypatch.setattr(message, "_is_unicode", bool)
    monkeypatch.setattr(message.Prediction, "from_json", _with_any_generation(message.Prediction.from_json))
    predict, move = fuzz_functions(1_500, SEED)
    assert "unexpected UnicodeEncodeError" in predict.findings
    assert "pictures that nobody sent" in move.findings


def _with_any_generation(read: Callable[[bytes], message.Prediction]) -> Callable[[bytes], message.Prediction]:
    def reading(data: bytes) -> message.Prediction:
        prediction = read(data)
        return replace(prediction, generation=0) if prediction.generation % 5 == 0 else prediction

    return reading


def test_an_acknowledged_failure_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that cannot be read, taken for one that is not there any more."""

    def not_found(*_arguments: object, **_named: object) -> bytes:
        from google.api_core.exceptions import NotFound

        raise NotFound("planted")

    monkeypatch.setattr(storage.Blob, "download_as_bytes", not_found)
    predict, _ = fuzz_functions(60, SEED)
    assert "acknowledged as gone, and is there" in predict.findings


def test_a_picture_that_ends_or_stops_the_process_is_found_and_the_next_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "SECONDS_FOR_ONE", 5.0)
    [fuzzed] = pictures.fuzz_pictures(0, SEED, formats=(pictures.PLANTED,))
    assert fuzzed.findings == {
        "the process ended": 1,
        "took too long and was ended": 1,
        "unexpected MemoryError": 1,
        "unexpected KeyError": 1,
        "a reason that is none, or too long": 1,
    }
    assert fuzzed.outcomes["prepared"] == 2, "the first and the last"
    assert fuzzed.count == 7


def test_a_setting_that_crashes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_location: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(infra.settings, "_key", fail)
    fuzzed = fuzz_settings(100, SEED)
    assert fuzzed.findings["unexpected ZeroDivisionError"]
    assert not fuzzed.holds


def test_a_route_that_fails_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_key: str) -> PictureId:
        raise IndexError("planted")

    monkeypatch.setattr(PictureId, "parse", fail)
    fuzzed = fuzz_review(150, SEED)
    assert fuzzed.findings["answered 500"]
    assert fuzzed.findings["unexpected IndexError"]


def test_the_same_seed_gives_the_same_mutations() -> None:
    value: Any = {"a": [1, "two", {"b": None}], "c": "text"}

    def some(seed: int) -> list[bytes]:
        rng = random.Random(seed)
        return [mutated_bytes(as_json(mutated(value, rng), rng), rng) for _ in range(200)]

    assert some(1) == some(1)
    assert some(1) != some(2)
    assert value == {"a": [1, "two", {"b": None}], "c": "text"}
    assert len(NASTY) > 50


def test_findings_are_counted_by_their_kind_and_shown() -> None:
    fuzzed = Fuzzed(target="door")
    for number in range(3):
        with fuzzed.one(number, limit=60):
            fuzzed.find("broken", number)
    assert not fuzzed.holds
    assert (fuzzed.findings["broken"], fuzzed.examples["broken"]) == (3, "0")
    assert [next(iter(column.cells)) for column in table([fuzzed]).columns][:2] == ["door", "3"]
