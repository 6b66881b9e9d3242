"""An image can be decided whatever its metadata is, and whatever the storage refuses about another one."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
from google.cloud.storage import Blob
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspection import layout
from local.google.gate import Call
from tests.support.gate import ScriptedGate, refuse
from tests.webapp.review_line import ANNA, Line
from webapp.guard import Guard
from webapp.picture_store import entries_to_leave_out

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)


def used(metadata: dict[str, str]) -> int:
    return sum(map(layout.metadata_bytes, metadata.items()))


def put(line: Line, name: str, metadata: dict[str, str]) -> Blob:
    """An object as somebody filed it by hand, or an earlier version of move."""
    blob = line.bucket.blob(f"unclear/{name}")
    blob.metadata = metadata
    blob.upload_from_string(b"x", content_type="image/jpeg")
    return blob


@contextmanager
def logged() -> Generator[list[dict[str, Any]]]:
    """The fields of what the app logs meanwhile."""
    lines: list[dict[str, Any]] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(getattr(record, "fields", {}))

    handler = Listening()
    logging.getLogger("review").addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger("review").removeHandler(handler)


def test_the_reserve_is_what_the_app_writes_with_the_longest_of_everything(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = "ä" * 121 + "@example.com"
    assert len(email.encode()) == layout.MAX_E_MAIL_BYTES
    monkeypatch.setattr(Guard, "_reviewer", MagicMock(return_value=email))
    label = "\U00010400" * 64
    monkeypatch.setattr(line.reviewing, "labels", (label,))
    line.clock.time = line.clock.time.replace(microsecond=123456)
    name = "n" * (layout.MAX_NAME_BYTES - len("unclear/"))
    generation = str(put(line, name, {}).generation)
    page = line.page(page="p" * 64)

    [picture] = page.pictures()
    assert page.skip(picture).status_code == 204
    [picture] = page.pictures()
    recorded: dict[str, str] = {}

    def before_the_move(_: Call) -> None:
        recorded.update(line.metadata(f"unclear/{name}"))

    line.gate.before["storage.objects.move"] = before_the_move
    assert page.decide(picture, label, number=2**53).status_code == 200

    longest = {key: len(value.encode()) for key, value in recorded.items()}
    longest["decided-from"] += len(str(2**63 - 1)) - len(generation)
    assert longest == layout.REVIEW_METADATA
    page.number = 2**53
    assert page.undo().status_code == 200
    assert used(line.metadata(f"unclear/{name}")) <= layout.REVIEW_RESERVE_BYTES


ODD_NAMES = ['"' * 1_012, "\\" * 1_012, "\1" * 1_012]
"""As long as a name may be, of characters that JSON writes longer than they are."""
NAMES = st.one_of(TEXT, st.sampled_from(ODD_NAMES), st.text(st.sampled_from("aä黒/"), min_size=1, max_size=330))
METADATA = st.one_of(
    st.dictionaries(TEXT, TEXT, max_size=5),
    st.integers(8_192 - layout.REVIEW_RESERVE_BYTES, 8_192).map(lambda size: {"notes": "x" * (size - 5)}),
    st.integers(1, 60).map(lambda count: {f"note {number}": "ä" * (3_800 // count) for number in range(count)}),
    st.sampled_from([{layout.SOURCE: "x" * 8_100}, {"skipped-at": "x" * 8_100}, {"decided-from": "x" * 8_000}]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, metadata=METADATA)
def test_any_metadata_and_any_name_is_claimed_decided_and_undone(
    line: Line, name: str, metadata: dict[str, str]
) -> None:
    for blob in line.bucket.list_blobs():
        blob.delete()
    name = f"{name.strip('/')}.jpg"
    assert used(metadata) <= layout.MAX_METADATA_BYTES
    put(line, name, metadata)
    page = line.page()
    [picture] = page.pictures()
    assert page.queue(held=[picture["id"]])["pictures"] == []
    assert page.renew(picture).json()["lost"] == []
    for _ in range(2):
        assert page.decide(picture, "blow hole").status_code == 200
        assert [filed.startswith("human_decided/") for filed in line.names()] == [True]
        answer = page.undo()
        assert answer.status_code == 200, answer.text
        picture = answer.json()
    assert page.skip(picture).status_code == 204
    [picture] = page.pictures()
    assert page.decide(picture).status_code == 200
    assert line.metadata(line.names()[0])[layout.DECIDED_BY] == ANNA


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_is_long_and_odd_goes_through_every_request(line: Line, name: str) -> None:
    names = [f"{name[:-1]}{last}" for last in "abc"]
    line.put(*names)
    page = line.page()
    answer = page.queue(1)
    [first] = answer["pictures"]
    [second] = page.queue(1, answer["cursor"], held=[first["id"]])["pictures"]
    assert [first["name"], second["name"]] == names[:2]
    assert page.renew(first, second).json()["lost"] == []
    assert page.get(first["image_url"]).status_code == 302
    assert page.decide(first).status_code == 200
    assert page.undo().status_code == 200
    assert page.skip(second).status_code == 204


def test_the_camera_s_largest_entries_give_way_and_are_logged_whole(line: Line) -> None:
    line.put("a.jpg", notes="x" * 5_000, serial="y" * 2_900)
    page = line.page()
    with logged() as lines:
        [picture] = page.pictures()
        with line.requests() as methods:
            assert page.decide(picture).status_code == 200
    metadata = line.metadata("human_decided/ok_a.jpg")
    assert "notes" not in metadata
    assert metadata["serial"] == "y" * 2_900
    assert metadata[layout.SOURCE] == "gs://inbound/a.jpg#7"
    [about] = [fields for fields in lines if fields.get("outcome") == "metadata left out"]
    assert about["left_out"] == {"notes": "x" * 5_000}
    assert methods.count("move") == 1


def test_metadata_with_room_is_left_as_it_is() -> None:
    room = layout.MAX_METADATA_BYTES - layout.REVIEW_RESERVE_BYTES
    assert entries_to_leave_out({"notes": "x" * (room - 5), "claimed-by": ANNA}, {}) == {}
    assert entries_to_leave_out({"notes": "x" * (room - 4)}, {}) == {"notes": "x" * (room - 4)}


def test_a_picture_that_the_storage_refuses_is_passed_over_logged_and_counted(line: Line) -> None:
    line.put("a.jpg", "b.jpg")
    page = line.page()
    line.gate.before["storage.objects.update"] = refuse(400)
    with logged() as lines:
        answer = page.queue()
    assert (len(answer["pictures"]), answer["passed_over"]) == (1, 1)
    [about] = [fields for fields in lines if fields.get("outcome") == "passed over"]
    assert about["status"] == 400
    assert about["image"].startswith("unclear/")
    assert page.decide(answer["pictures"][0]).status_code == 200
    assert page.queue()["passed_over"] == 0


def test_a_permission_that_is_missing_for_all_is_no_empty_queue(line: Line, gate: ScriptedGate) -> None:
    line.put(*(f"{number:02}.jpg" for number in range(30)))
    page = line.page()

    def refuse_all(call: Call) -> None:
        gate.before["storage.objects.update"] = refuse_all
        refuse(403, "forbidden")(call)

    gate.before["storage.objects.update"] = refuse_all
    with line.requests() as methods:
        answer = page.post("/api/queue", {"count": 10})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert methods.count("update") == 10
    gate.before.clear()
    assert len(page.pictures(10)) == 10


RETENTION = (
    "retentionPolicyNotMet",
    "Object 'p/a' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten",
)
HOLD = (
    "forbidden",
    "Object 'p/a' is under active Temporary hold and cannot be deleted, overwritten or archived until hold is removed.",
)
DOCUMENTED_HOLD = ("objectUnderActiveHold", "Object replacement or deletion is not allowed due to an active hold.")


@pytest.mark.parametrize(("reason", "message"), [RETENTION, HOLD, DOCUMENTED_HOLD])
def test_a_picture_that_may_not_be_moved_is_put_off_with_a_sentence_of_its_own(
    line: Line, reason: str, message: str
) -> None:
    line.put("a.jpg", "b.jpg")
    page = line.page()
    [picture] = page.pictures(1)

    line.gate.before["storage.objects.move"] = refuse(403, reason, message)
    with logged() as lines:
        answer = page.decide(picture)
    assert (answer.status_code, answer.json()["code"]) == (409, "retained")
    assert "retention policy or a hold" in answer.json()["message"]
    [about] = [fields for fields in lines if fields.get("outcome") == "retained"]
    assert about["image"].startswith("unclear/a.jpg#")
    assert layout.DECISION not in line.metadata("unclear/a.jpg")
    assert [(each["name"], each["skipped"]) for each in page.pictures()] == [("b.jpg", False), ("a.jpg", True)]


def test_a_decision_that_may_not_be_moved_back_stands(line: Line) -> None:
    line.put("a.jpg")
    page = line.page()
    [picture] = page.pictures()
    assert page.decide(picture).status_code == 200

    line.gate.before["storage.objects.move"] = refuse(403, *RETENTION)
    answer = page.undo()
    assert (answer.status_code, answer.json()["code"]) == (409, "retained")
    assert line.metadata("human_decided/ok_a.jpg")[layout.DECISION] == "ok"


def test_a_missing_permission_to_move_is_not_taken_for_a_hold(line: Line) -> None:
    line.put("a.jpg")
    page = line.page()
    [picture] = page.pictures()
    line.gate.before["storage.objects.move"] = refuse(403)
    assert page.decide(picture).status_code == 503
    assert page.decide(picture).status_code == 200
