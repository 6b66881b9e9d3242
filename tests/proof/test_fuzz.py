"""The fuzzing of `make proof` in small, and that it sees what it looks for."""

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from google.cloud import storage

import automl.stack.model
import infra.stack_config
import local.deploy.program
from automl.stack.config import StackConfigError
from inspection import message
from proof import fuzz_pictures as pictures
from proof import fuzz_review as fuzz_review_module
from proof import fuzz_settings as fuzz_settings_module
from proof.fuzz import table
from proof.fuzz_functions import fuzz_functions, fuzz_whole_path
from proof.fuzz_mutations import NASTY, Fuzzed, as_json, mutated, mutated_bytes
from proof.fuzz_review import fuzz_review
from proof.fuzz_settings import ROOT, fuzz_settings
from proof.fuzz_stack_files import fuzz_stack_files
from webapp.picture import PictureId

SEED = 7


def test_messages_and_events_at_the_functions() -> None:
    for fuzzed in fuzz_functions(600, SEED):
        assert fuzzed.count == 600
        assert fuzzed.originals > 10
        assert 10 * 2**20 < fuzzed.peak_bytes < 2**30
        assert not fuzzed.findings, fuzzed.examples
        assert fuzzed.outcomes["answered 200"] > 100, "many must come through, or nothing behind the door is tried"
        assert fuzzed.outcomes["answered 400"] > 100


def test_pictures_of_each_format() -> None:
    for fuzzed in pictures.fuzz_pictures(60, SEED, formats=(*pictures.FORMATS, pictures.GZIP)):
        assert fuzzed.count == 60
        assert not fuzzed.findings, fuzzed.examples
        assert fuzzed.outcomes.keys() == {"prepared", "refused with a reason"}


@pytest.mark.filterwarnings("ignore:::PIL")
def test_pictures_of_each_format_through_the_whole_of_predict() -> None:
    for fuzzed in fuzz_whole_path(30, SEED):
        assert fuzzed.count == 30
        assert not fuzzed.findings, fuzzed.examples
        assert fuzzed.outcomes["answered 200"] == 30
        assert fuzzed.outcomes["published: a label"] + fuzzed.outcomes["published: an error"] == 30


def test_files_that_unpack_to_far_more_than_they_are() -> None:
    [fuzzed] = pictures.fuzz_pictures(0, SEED, formats=(pictures.BOMBS,))
    assert fuzzed.count > 80
    assert not fuzzed.findings, fuzzed.examples


def test_stack_config() -> None:
    fuzzed = fuzz_settings(600, SEED)
    assert not fuzzed.findings, fuzzed.examples
    assert fuzzed.count == 600
    assert fuzzed.outcomes["read"] > 10
    assert fuzzed.outcomes["refused in words"] > 100


def test_stack_files() -> None:
    local, commands = fuzz_stack_files(80, SEED)
    for fuzzed, good in ((local, "read"), (commands, "written")):
        assert fuzzed.count == 80
        assert not fuzzed.findings, fuzzed.examples
        assert fuzzed.outcomes[good] > 5
        assert fuzzed.outcomes["refused in words"] > 30


def test_requests_at_the_review_app() -> None:
    fuzzed = fuzz_review(600, SEED)
    assert not fuzzed.findings, fuzzed.examples
    assert fuzzed.count == 600
    for status in (200, 401, 403, 404, 405, 409, 422):
        assert fuzzed.outcomes[f"answered {status}"] > 5, status


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
    for fuzzed in fuzz_whole_path(2, SEED):
        assert fuzzed.findings == {"acknowledged as gone, and is there": 2}


def test_a_picture_that_ends_or_stops_the_process_is_found_and_the_next_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "SECONDS_FOR_ONE", 5.0)
    monkeypatch.setattr(pictures, "CPU_SECONDS_FOR_ONE", 1.0)
    [fuzzed] = pictures.fuzz_pictures(0, SEED, formats=(pictures.PLANTED,))
    assert fuzzed.findings == {
        "the process ended": 1,
        "took too long and was ended": 1,
        "unexpected MemoryError": 1,
        "unexpected KeyError": 1,
        "a reason that is none, or too long": 1,
        "took too much CPU time": 1,
    }
    assert fuzzed.outcomes["prepared"] == 3, "the first, the last, and the one that took long"
    assert fuzzed.count == 8


def test_a_setting_that_crashes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_location: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(infra.stack_config, "_key", fail)
    fuzzed = fuzz_settings(100, SEED)
    assert fuzzed.findings["unexpected ZeroDivisionError"]
    assert not fuzzed.holds


def test_a_stack_file_that_is_read_or_written_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def left_open(path: Path) -> dict[str, Any]:
        return yaml.safe_load(path.read_bytes())

    def append(file: Path, model_id: str) -> None:
        with file.open("a") as text:
            text.write(model_id)
        raise StackConfigError("refused")

    monkeypatch.setattr(local.deploy.program, "_load_yaml", left_open)
    monkeypatch.setattr(automl.stack.model, "write_model_id", append)
    readers, commands = fuzz_stack_files(40, SEED)
    assert {"unexpected ParserError", "unexpected ScannerError"} & readers.findings.keys()
    assert commands.findings.keys() == {"refused, and written all the same"}


def test_a_hang_is_found_and_the_next_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_arguments: object, **_named: object) -> None:
        Event().wait()

    monkeypatch.setattr(fuzz_settings_module, "SECONDS_FOR_ONE", 0.05)
    monkeypatch.setattr(fuzz_settings_module, "parse_settings", hang)
    fuzzed = fuzz_settings(3, SEED)
    assert fuzzed.findings == {"took too long and was interrupted": 3}
    assert fuzzed.count == 3


def test_a_request_that_hangs_in_another_thread_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = Event()
    hung: list[str] = []

    def hang(key: str) -> PictureId:
        if not hung:
            hung.append(key)
            go_on.wait()
        raise IndexError("planted")

    monkeypatch.setattr(fuzz_review_module, "SECONDS_FOR_ONE", 1.0)
    monkeypatch.setattr(PictureId, "parse", hang)
    original = Fuzzed.find

    def find(fuzzed: Fuzzed, what: str, about: object) -> None:
        go_on.set()  # or the app could not be stopped at the end
        original(fuzzed, what, about)

    monkeypatch.setattr(Fuzzed, "find", find)
    assert fuzz_review(30, SEED).findings["took too long and was interrupted"]


def test_a_hang_that_nothing_interrupts_ends_the_process_and_shows_where() -> None:
    hanging = (
        "from proof import fuzz_mutations as m; m.SECONDS_MORE = 0.5; "
        "m.Fuzzed(target='door').one('it', lambda: sum(range(10**15)), limit=0.1)"
    )
    ended = subprocess.run([sys.executable, "-c", hanging], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Timeout")
    assert "<lambda>" in ended.stderr


def test_a_mutation_that_takes_much_memory_is_found() -> None:
    fuzzed = Fuzzed(target="door", memory_for_one=50_000_000)
    assert fuzzed.one("little", lambda: len(b"x" * 1_000_000), limit=60) == 1_000_000
    assert fuzzed.holds
    assert fuzzed.one("much", lambda: len(b"x" * 200_000_000), limit=60) == 200_000_000
    assert fuzzed.findings == {"took too much memory": 1}
    assert fuzzed.peak_bytes > 200_000_000


def test_no_two_mutations_are_alike_and_none_is_like_an_original() -> None:
    fuzzed, rng = Fuzzed(target="door"), random.Random(SEED)
    drawn = [fuzzed.drawn(lambda: rng.randrange(10), 3, 5) for _ in range(8)]
    assert sorted(drawn) == [0, 1, 2, 4, 6, 7, 8, 9]
    with pytest.raises(RuntimeError, match="nothing new"):
        fuzzed.drawn(lambda: rng.randrange(10), 3, 5)
    some = list(islice(pictures.mutated_pictures("BMP", SEED), 300))
    assert len(set(some)) == 300
    assert some[:20] == list(islice(pictures.mutated_pictures("BMP", SEED), 20))


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
        fuzzed.one(number, partial(fuzzed.find, "broken", number), limit=60)
    assert not fuzzed.holds
    assert (fuzzed.findings["broken"], fuzzed.examples["broken"]) == (3, "0")
    assert [next(iter(column.cells)) for column in table([fuzzed]).columns][:2] == ["door", "3"]
