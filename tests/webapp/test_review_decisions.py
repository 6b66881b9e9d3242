"""A decision: recorded, moved, counted once; and what happens when somebody or something is faster."""

from datetime import datetime

import pytest

from inspection import layout
from local.google.gate import Call
from tests.support.gate import refuse
from tests.webapp.review_line import ANNA, BERT, Line


def test_a_decision_files_the_picture_with_who_and_when(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    answer = anna.decide(picture, "defect")
    assert answer.status_code == 200
    assert answer.json()["label"] == "defect"
    assert datetime.fromisoformat(answer.json()["decided_at"]) == line.clock.time
    assert line.names() == ["human_decided/defect_a.jpg"]
    metadata = line.metadata("human_decided/defect_a.jpg")
    assert metadata[layout.DECISION] == "defect"
    assert metadata[layout.DECIDED_BY] == ANNA
    assert datetime.fromisoformat(metadata[layout.DECIDED_AT]) == line.clock.time
    assert metadata[layout.SOURCE] == "gs://inbound/a.jpg#7"
    assert metadata.keys() <= {
        layout.PREDICTION_LABEL,
        layout.PREDICTION_SCORE,
        layout.MODEL,
        *layout.REVIEW_METADATA,
    } | {layout.SOURCE}


def test_a_decision_takes_two_requests_to_the_storage(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    with line.requests() as methods:
        anna.decide(picture)
    assert methods == ["update", "move"]


@pytest.mark.parametrize(
    ("name", "filed"),
    [
        ("shift 1/line#2/käse.jpg", "human_decided/shift 1/line#2/ok_käse.jpg"),
        ("部品/写真?%2F.png", "human_decided/部品/ok_写真?%2F.png"),
        ("a'b\"c&d+e=f.jpg", "human_decided/ok_a'b\"c&d+e=f.jpg"),
        ("../ok/x.jpg", "human_decided/../ok/ok_x.jpg"),
    ],
)
def test_names_of_every_kind(line: Line, name: str, filed: str) -> None:
    line.put(name)
    anna = line.page()
    [picture] = anna.pictures()
    assert picture["name"] == name
    assert anna.decide(picture).status_code == 200
    assert line.names() == [filed]


def test_a_name_as_long_as_the_storage_allows(line: Line) -> None:
    line.put("ä" * 506 + ".jpg")
    anna = line.page()
    [picture] = anna.pictures()
    assert anna.decide(picture, "blow hole").status_code == 200
    [name] = line.names()
    assert name.startswith("human_decided/blow hole_ää")
    assert anna.undo().status_code == 200
    assert line.names() == ["unclear/" + "ä" * 506 + ".jpg"]


def test_sent_twice_a_decision_counts_once(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    first = anna.decide(picture, number=1).json()
    line.clock.pass_by(seconds=5)
    again = anna.decide(picture, number=1)
    assert again.status_code == 200
    assert {**again.json(), "waiting": None} == {**first, "waiting": None}
    assert line.names() == ["human_decided/ok_a.jpg"]


def test_another_decision_on_the_same_picture_says_what_happened(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    anna.decide(picture, "blow hole")
    for page, label in ((bert, "ok"), (bert, "blow hole"), (anna, "ok")):
        answer = page.decide(picture, label)
        assert answer.status_code == 409
        problem = answer.json()
        assert (problem["code"], problem["by"], problem["label"]) == ("decided", ANNA, "blow hole")
        assert datetime.fromisoformat(problem["at"]) == line.clock.time
    assert line.names() == ["human_decided/blow hole_a.jpg"]


def test_a_picture_that_another_holds_now_is_not_decided(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    line.clock.pass_by(minutes=3)
    assert len(bert.pictures()) == 1
    answer = anna.decide(picture)
    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["by"]) == ("claimed", BERT)
    assert line.names() == ["unclear/a.jpg"]


def test_a_claim_that_ended_still_decides_if_nobody_took_the_picture(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    line.clock.pass_by(hours=1)
    assert anna.decide(picture).status_code == 200


def test_a_renewal_under_way_does_not_hinder_the_decision(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    anna.renew(picture)  # the page has not seen the answer yet
    assert anna.decide(picture).status_code == 200


def test_a_picture_that_was_replaced_is_a_conflict(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    line.put("a.jpg")
    answer = anna.decide(picture)
    assert (answer.status_code, answer.json()["code"]) == (409, "changed")
    assert line.names() == ["unclear/a.jpg"]


def test_a_picture_that_was_deleted_is_unknown(line: Line) -> None:
    [blob] = line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    blob.delete()
    answer = anna.decide(picture)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_picture")


def test_a_label_that_the_line_does_not_have_is_refused(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    answer = anna.decide(picture, "../ok")
    assert answer.status_code == 422
    assert "'../ok'" in answer.json()["message"]
    assert "ok, defect, blow hole" in answer.json()["message"]


def test_a_name_that_another_image_has_gets_the_generation(line: Line) -> None:
    line.put("ok_a.jpg", folder="human_decided")
    [blob] = line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    assert anna.decide(picture).status_code == 200
    source = (blob.metadata or {})["source"].rpartition("#")[2]
    assert line.names() == [f"human_decided/ok_a-{source}.jpg", "human_decided/ok_a.jpg"]
    assert anna.decide(picture).status_code == 200, "and the second sending finds it there"
    assert anna.undo().status_code == 200
    assert line.names() == ["human_decided/ok_a.jpg", "unclear/a.jpg"]


def test_where_both_names_are_others_there_is_a_third(line: Line) -> None:
    line.put("ok_a.jpg", "ok_a-7.jpg", folder="human_decided")
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    assert anna.decide(picture).status_code == 200
    [third] = set(line.names()) - {"human_decided/ok_a.jpg", "human_decided/ok_a-7.jpg"}
    assert third.startswith("human_decided/ok_a-7-")
    assert anna.decide(picture).status_code == 200, "and the second sending finds it there"
    assert anna.undo().status_code == 200
    assert "unclear/a.jpg" in line.names()


def test_stopped_between_recording_and_moving_the_same_reviewer_finishes(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    line.gate.before["storage.objects.move"] = refuse(400)
    answer = anna.decide(picture, number=1)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert line.names() == ["unclear/a.jpg"]
    assert bert.pictures() == [], "the recorded decision holds it"
    assert anna.decide(picture, number=1).status_code == 200
    assert line.names() == ["human_decided/ok_a.jpg"]


def test_stopped_between_recording_and_moving_another_reviewer_can_finish_later(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    line.gate.before["storage.objects.move"] = refuse(400)
    anna.decide(picture)
    line.clock.pass_by(minutes=3)
    [again] = bert.pictures()
    assert bert.decide(again, "defect").status_code == 200
    assert line.names() == ["human_decided/defect_a.jpg"]
    assert line.metadata("human_decided/defect_a.jpg")[layout.DECIDED_BY] == BERT
    assert anna.decide(picture).json()["by"] == BERT


@pytest.mark.parametrize("method", ["storage.objects.update", "storage.objects.move"])
def test_an_answer_that_got_lost_does_not_lose_the_decision(line: Line, method: str) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    line.gate.after[method] = refuse(503)  # done, but the client hears of a failure and tries again
    assert anna.decide(picture, "defect").status_code == 200
    assert line.names() == ["human_decided/defect_a.jpg"]


def test_the_storage_out_of_order_is_told_apart_from_a_conflict(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    line.gate.before["storage.objects.update"] = refuse(403)
    answer = anna.decide(picture)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert line.names() == ["unclear/a.jpg"]


def test_a_recorded_decision_that_is_not_filed_yet_counts_against_others(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    line.gate.before["storage.objects.move"] = refuse(400)
    anna.decide(picture, "defect")
    for page, label in ((anna, "ok"), (bert, "ok"), (bert, "defect")):
        problem = page.decide(picture, label).json()
        assert (problem["code"], problem["by"], problem["label"]) == ("decided", ANNA, "defect")
    assert line.names() == ["unclear/a.jpg"]
    assert line.metadata("unclear/a.jpg")[layout.DECISION] == "defect"


def test_a_move_that_comes_too_late_leaves_the_picture_to_who_has_it_now(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    berts: list[dict[str, object]] = []

    def others_turn(_: Call) -> None:
        line.clock.pass_by(minutes=3)
        berts.extend(bert.pictures())

    line.gate.before["storage.objects.move"] = others_turn
    answer = anna.decide(picture)
    assert (answer.status_code, answer.json()["code"], answer.json()["by"]) == (409, "claimed", BERT)
    assert len(berts) == 1
    assert bert.decide(berts[0], "defect").status_code == 200
    assert line.names() == ["human_decided/defect_a.jpg"]
