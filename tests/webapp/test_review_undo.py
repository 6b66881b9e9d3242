"""A decision is taken back: whose, how far back, and where the picture goes."""

import pytest

from inspection import layout
from tests.support.gate import refuse
from tests.webapp.review_line import BERT, Line
from webapp import picture as pictures


def test_an_undone_picture_is_back_in_the_queue_and_with_its_page(line: Line) -> None:
    line.put("shift 1/käse#1.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    anna.decide(picture, "defect")
    answer = anna.undo()
    assert answer.status_code == 200
    assert line.names() == ["unclear/shift 1/käse#1.jpg"]
    metadata = line.metadata("unclear/shift 1/käse#1.jpg")
    assert not {layout.DECISION, layout.DECIDED_BY, layout.DECIDED_AT} & set(metadata)
    assert bert.pictures() == []
    again = answer.json()
    assert (again["name"], again["label"], again["score"]) == ("shift 1/käse#1.jpg", "defect", 0.61)
    with line.requests() as methods:
        assert anna.decide(again, "ok").status_code == 200
    assert methods == ["update", "move"]
    assert line.names() == ["human_decided/shift 1/ok_käse#1.jpg"]


def test_the_waiting_count_grows_again(line: Line) -> None:
    line.put("a", "b")
    anna = line.page()
    anna.decide(anna.pictures()[0])
    anna.undo()
    assert anna.get("/api/session").json()["waiting"]["count"] == 2


def test_ten_decisions_back_and_no_further(line: Line) -> None:
    line.put(*(f"{number:02}" for number in range(11)))
    anna = line.page()
    for picture in anna.pictures(11):
        assert anna.decide(picture).status_code == 200
    oldest, *last_ten = anna.undos
    answer = anna.undo(oldest)
    assert (answer.status_code, answer.json()["code"]) == (409, "undo_refused")
    assert "last 10 decisions" in answer.json()["message"]
    for undo in reversed(last_ten):
        assert anna.undo(undo).status_code == 200
    assert anna.undo(oldest).status_code == 409
    assert line.names() == ["human_decided/ok_00", *(f"unclear/{number:02}" for number in range(1, 11))]


@pytest.mark.parametrize(("email", "page"), [(BERT, "page-of-anna"), (BERT, "page-of-bert"), (None, "window-two")])
def test_another_session_s_decision_cannot_be_undone(line: Line, email: str | None, page: str) -> None:
    line.put("a")
    anna = line.page()
    anna.decide(anna.pictures()[0])
    other = line.page(email, page) if email else line.page(page=page)
    other.number = 1
    answer = other.undo(anna.undos[0])
    assert (answer.status_code, answer.json()["code"]) == (409, "undo_refused")
    assert line.names() == ["human_decided/ok_a"]


def test_an_undo_sent_twice_counts_once(line: Line) -> None:
    line.put("a")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    anna.decide(anna.pictures()[0])
    assert anna.undo().json() == anna.undo().json()
    line.clock.pass_by(minutes=3)
    [picture] = bert.pictures()
    assert anna.undo().status_code == 409, "by now another has it"
    bert.decide(picture, "defect")
    assert anna.undo().status_code == 409
    assert line.names() == ["human_decided/defect_a"]


def test_a_decision_that_followed_an_undo_is_not_undone_by_the_old_one(line: Line) -> None:
    line.put("a")
    anna = line.page()
    anna.decide(anna.pictures()[0])
    anna.decide(anna.undo().json(), "ok")
    assert anna.undo(anna.undos[0]).status_code == 409
    assert line.names() == ["human_decided/ok_a"]


def test_a_decision_sent_late_for_an_undone_picture_changes_nothing(line: Line) -> None:
    line.put("a")
    anna = line.page()
    [picture] = anna.pictures()
    anna.decide(picture, number=1)
    anna.number = 1
    anna.undo()
    answer = anna.decide(picture, number=1)
    assert (answer.status_code, answer.json()["code"]) == (409, "changed")
    assert line.names() == ["unclear/a"]


def test_a_new_picture_under_the_old_name_is_not_overwritten(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    anna.decide(anna.pictures()[0])
    line.put("a.jpg")
    picture = anna.undo().json()
    assert len(line.names()) == 2
    assert set(line.names()) > {"unclear/a.jpg"}
    assert anna.undo().json()["id"] == picture["id"], "sent twice"
    assert anna.decide(picture, "defect").status_code == 200


@pytest.mark.parametrize("method", ["storage.objects.move", "storage.objects.update"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_undo_that_stopped_half_way_can_be_sent_again(line: Line, method: str, when: str) -> None:
    line.put("a")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    anna.decide(anna.pictures()[0])
    getattr(line.gate, when)[method] = refuse(400)
    assert anna.undo().status_code == 503
    assert bert.pictures() == []
    answer = anna.undo()
    assert answer.status_code == 200
    assert line.names() == ["unclear/a"]
    assert anna.decide(answer.json()).status_code == 200


def test_an_undo_that_nobody_finished_frees_the_picture_later(line: Line) -> None:
    line.put("a")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    anna.decide(anna.pictures()[0])
    line.gate.before["storage.objects.update"] = refuse(400)
    anna.undo()
    line.clock.pass_by(minutes=3)
    [picture] = bert.pictures()
    assert layout.DECISION not in line.metadata("unclear/a")
    assert bert.decide(picture, "defect").status_code == 200


@pytest.mark.parametrize(
    "undo",
    [
        "",
        "no token",
        pictures.encode("ok/a", "unclear/a", 1, 1),
        pictures.encode("human_decided/ok_a", "ok/a", 1, 1),
        pictures.encode("human_decided/", "unclear/a", 1, 1),
        pictures.encode("human_decided/ok_a", "unclear/a"),
        pictures.encode("human_decided/ok_a", "unclear/a", "1", 1),
    ],
)
def test_no_other_path_can_be_reached(line: Line, undo: str) -> None:
    line.put("a", folder="ok")
    line.put("ok_a", folder="human_decided")
    anna = line.page()
    anna.number = 1
    answer = anna.post("/api/undo", {"undo": undo, "number": 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert line.names() == ["human_decided/ok_a", "ok/a"]


def test_a_picture_that_the_app_did_not_decide_cannot_be_undone(line: Line) -> None:
    line.put("ok_a", folder="human_decided")
    anna = line.page()
    anna.number = 1
    assert anna.undo(pictures.encode("human_decided/ok_a", "unclear/a", 1, 1)).status_code == 409
    assert line.names() == ["human_decided/ok_a"]
