"""Which pictures a page gets, in which order, for how long, and at what cost."""

from datetime import datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest

from tests.support.gate import refuse
from tests.webapp.review_line import ANNA, BERT, LABELS, Line, Page, let_counting_end
from webapp.picture_store import PAGE_SIZE
from webapp.reviewing import PAGES_AT_ONCE


def names(pictures: list[dict[str, Any]]) -> list[str]:
    return [picture["name"] for picture in pictures]


def test_the_session_says_what_the_page_needs(line: Line) -> None:
    line.put("a.jpg", "b.jpg")
    assert line.page().get("/api/session").json() == {
        "reviewer": ANNA,
        "labels": list(LABELS),
        "waiting": {"count": 2, "exact": True},
        "claim_seconds": 120,
        "undo_limit": 10,
    }


def test_a_picture_comes_with_what_the_model_said(line: Line) -> None:
    line.put("shift 1/ä#1.jpg")
    [picture] = line.page().pictures()
    assert picture["name"] == "shift 1/ä#1.jpg"
    assert (picture["label"], picture["score"], picture["model"]) == ("defect", 0.61, "ICN1")
    assert picture["image_url"] == f"/api/pictures/{picture['id']}/image"
    assert datetime.fromisoformat(picture["claimed_until"]) == line.clock.time + timedelta(minutes=2)
    assert picture["skipped"] is False


def test_a_picture_that_came_without_metadata_can_be_decided_too(line: Line) -> None:
    line.bucket.blob("unclear/by hand.jpg").upload_from_string(b"x")
    anna = line.page()
    [picture] = anna.pictures()
    assert (picture["name"], picture["label"], picture["score"]) == ("by hand.jpg", None, None)
    assert anna.decide(picture).status_code == 200


def test_a_camera_s_name_is_shown_even_if_the_object_had_to_be_renamed(line: Line) -> None:
    line.put("a-123.jpg", source="gs://inbound/dir/a#1.jpg#123")
    assert names(line.page().pictures()) == ["dir/a#1.jpg"]


def test_only_pictures_of_the_queue_are_given(line: Line) -> None:
    line.put("a.jpg", folder="ok")
    line.put("a.jpg", folder="unclear2")
    line.put("ok_a.jpg", folder="human_decided")
    line.bucket.blob("unclear/").upload_from_string(b"")  # the console's placeholder for a folder
    answer = line.page().queue()
    assert answer == {"pictures": [], "cursor": None, "waiting": {"count": 0, "exact": True}, "passed_over": 0}


def test_the_cursor_leads_through_all_of_them(line: Line) -> None:
    line.put(*(f"{number:02}.jpg" for number in range(12)))
    anna = line.page()
    seen: list[dict[str, Any]] = []
    cursor = None
    for _ in range(3):
        answer = anna.queue(5, cursor, held=[picture["id"] for picture in seen])
        seen += answer["pictures"]
        cursor = answer["cursor"]
    assert names(seen) == [f"{number:02}.jpg" for number in range(12)]
    assert cursor is None


def test_two_reviewers_never_get_the_same_picture(line: Line) -> None:
    line.put(*"abcdef")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    assert names(anna.pictures(3)) == ["a", "b", "c"]
    berts = bert.pictures(2)
    assert names(berts) == ["d", "e"]
    assert names(bert.pictures(6)) == ["d", "e", "f"]


def test_two_windows_of_one_reviewer_get_different_pictures(line: Line) -> None:
    line.put(*"ab")
    assert names(line.page(page="window-1").pictures(1)) == ["a"]
    assert names(line.page(page="window-2").pictures(1)) == ["b"]


def test_a_page_that_is_loaded_again_gets_its_pictures_back(line: Line) -> None:
    line.put(*"abc")
    anna = line.page()
    first = anna.pictures(2)
    assert names(anna.pictures(2)) == ["a", "b"]
    held = [picture["id"] for picture in first]
    assert names(anna.queue(2, held=held)["pictures"]) == ["c"]


def test_a_claim_ends_by_itself(line: Line) -> None:
    line.put("a")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    anna.pictures()
    line.clock.pass_by(seconds=119)
    assert bert.pictures() == []
    line.clock.pass_by(seconds=1)
    assert names(bert.pictures()) == ["a"]


def test_a_renewed_claim_lasts(line: Line) -> None:
    line.put("a")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    line.clock.pass_by(seconds=100)
    answer = anna.renew(picture).json()
    assert answer["lost"] == []
    assert datetime.fromisoformat(answer["renewed"][0]["claimed_until"]) == line.clock.time + timedelta(seconds=120)
    line.clock.pass_by(seconds=100)
    assert bert.pictures() == []
    renewed = picture | answer["renewed"][0]
    with line.requests() as methods:
        assert anna.decide(renewed).status_code == 200
    assert methods == ["update", "move"]


def test_a_claim_that_another_took_is_reported_as_lost(line: Line) -> None:
    line.put(*"ab")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    mine = anna.pictures(2)
    line.clock.pass_by(minutes=3)
    [taken] = bert.pictures(1)
    bert.decide(taken)
    bert.pictures(1)
    lost = {lost["id"]: lost["problem"] for lost in anna.renew(*mine, {"id": "x", "claim": "1"}).json()["lost"]}
    assert [(lost[picture["id"]]["code"], lost[picture["id"]]["by"]) for picture in mine] == [
        ("decided", BERT),
        ("claimed", BERT),
    ]
    assert lost["x"]["code"] == "unknown_picture"


def test_released_pictures_are_free_at_once(line: Line) -> None:
    line.put(*"ab")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    mine = anna.pictures(2)
    assert anna.release(*mine, {"id": "x", "claim": "1"}).status_code == 204
    assert names(bert.pictures(2)) == ["a", "b"]
    assert anna.release(*mine).status_code == 204, "what another has by now stays with them"
    assert anna.pictures(2) == []


def test_a_page_loaded_again_keeps_its_pictures_though_the_old_one_lets_go_late(line: Line) -> None:
    line.put(*"ab")
    anna = line.page()
    before = anna.pictures(2)
    assert names(anna.pictures(2)) == ["a", "b"]
    assert anna.release(*before).status_code == 204
    assert line.page(BERT, "page-of-bert").pictures(2) == []


def test_a_page_loaded_again_gets_its_pictures_though_the_old_one_lets_go_meanwhile(line: Line) -> None:
    line.put(*"ab")
    anna = line.page()
    before = anna.pictures(2)
    line.gate.before["storage.objects.update"] = lambda _: anna.release(*before)
    assert names(anna.pictures(2)) == ["a", "b"]
    assert line.page(BERT, "page-of-bert").pictures(2) == []


def test_a_skipped_picture_comes_after_all_others(line: Line) -> None:
    line.put(*"abc")
    anna = line.page()
    [first] = anna.pictures(1)
    assert anna.skip(first).status_code == 204
    answer = anna.queue(3)
    assert [(picture["name"], picture["skipped"]) for picture in answer["pictures"]] == [
        ("b", False),
        ("c", False),
        ("a", True),
    ]


def test_a_skipped_picture_is_free_for_the_next_reviewer(line: Line) -> None:
    line.put("a")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    anna.skip(picture)
    assert anna.skip(picture).status_code == 204, "sent twice"
    [again] = bert.pictures()
    assert again["skipped"] is True
    assert anna.skip(picture).status_code == 409
    assert bert.decide(again).status_code == 200
    answer = anna.skip(picture)
    assert (answer.status_code, answer.json()["code"]) == (409, "decided")


def test_pictures_that_others_hold_are_not_looked_through_for_ever(line: Line) -> None:
    reach = (PAGE_SIZE + 1) * PAGES_AT_ONCE
    until = (line.clock.time + timedelta(minutes=1)).isoformat()
    claimed = {"claimed-by": BERT, "claimed-on": "page-of-bert", "claimed-until": until}
    line.put(*(f"{number:03}" for number in range(reach)), **claimed)
    line.put("free")
    anna = line.page()
    with line.requests() as methods:
        answer = anna.queue(1)
    assert methods.count("list") <= PAGES_AT_ONCE + 1, "one more: the count of waiting pictures"
    assert answer["pictures"] == []
    assert answer["cursor"] is not None
    with line.requests() as methods:
        answer = anna.queue(1, answer["cursor"])
    assert names(answer["pictures"]) == ["free"]
    assert methods == ["list", "update"]


def test_the_queue_s_requests_do_not_grow_with_the_backlog(line: Line) -> None:
    anna = line.page()
    anna.get("/api/session")
    counts: list[list[str]] = []
    for backlog in (30, 300):
        line.put(*(f"{backlog}/{number:03}" for number in range(backlog)))
        with line.requests() as methods:
            anna.queue(5)
        counts.append(methods)
    assert counts[0] == counts[1] == ["list", *["update"] * 5]


def test_the_waiting_count_follows_decisions_and_is_made_anew_later(line: Line) -> None:
    line.put(*"abc")
    anna = line.page()
    [picture] = anna.pictures(1)
    assert anna.decide(picture).json()["waiting"] == {"count": 2, "exact": True}
    line.put("d")
    with line.requests() as methods:
        assert anna.get("/api/session").json()["waiting"]["count"] == 2
    assert methods == []
    line.clock.pass_by(minutes=2)
    anna.get("/api/session")
    let_counting_end()
    assert anna.get("/api/session").json()["waiting"] == {"count": 3, "exact": True}


def test_a_count_that_fails_does_not_stop_the_review(line: Line) -> None:
    line.put("a")
    line.gate.before["storage.objects.list"] = refuse(400)
    assert line.page().get("/api/session").json()["waiting"] == {"count": 0, "exact": False}
    assert len(line.page().pictures()) == 1


def test_a_queue_that_the_storage_does_not_answer_for_is_no_empty_queue(line: Line) -> None:
    anna = line.page()
    anna.get("/api/session")
    line.gate.before["storage.objects.list"] = refuse(403)
    answer = anna.post("/api/queue", {"count": 5})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


@pytest.mark.parametrize(
    "body",
    [
        {"count": 0},
        {"count": 21},
        {"count": 5, "cursor": "not one of ours"},
        {"count": 5, "cursor": "WzAsICJvay8iXQ"},  # [0, "ok/"]
        {"count": 5, "prefix": "ok/"},
        [],
    ],
)
def test_a_request_with_a_wrong_value_is_refused_and_says_which(line: Line, body: object) -> None:
    answer = line.page().post("/api/queue", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert len(answer.json()["message"]) > 20


def test_two_reviewers_racing_decide_each_of_200_pictures_once(line: Line) -> None:
    line.put(*(f"{number:03}.jpg" for number in range(200)))
    decided: list[str] = []
    refused: list[str] = []

    def review(page: Page, label: str) -> None:
        cursor = None
        while True:
            answer = page.queue(7, cursor)
            for picture in answer["pictures"]:
                outcome = page.decide(picture, label)
                (decided if outcome.status_code == 200 else refused).append(picture["name"])
            cursor = answer["cursor"]
            if not answer["pictures"] and cursor is None:
                return

    pages = [(line.page(ANNA, "page-of-anna"), "ok"), (line.page(BERT, "page-of-bert"), "defect")]
    threads = [Thread(target=review, args=page) for page in pages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Whoever finds the rest in the other's hands has nothing more to do: the last pictures come with the next start.
    review(*pages[0])
    assert refused == []
    assert sorted(decided) == [f"{number:03}.jpg" for number in range(200)]
    by = [line.metadata(name)["decided-by"] for name in line.names()]
    assert len(by) == 200
    assert set(by) == {ANNA, BERT}


def test_the_same_picture_decided_by_both_at_once_counts_for_one(line: Line) -> None:
    line.put(*(f"{number:02}" for number in range(20)))
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    pictures = anna.pictures(20)
    start = Barrier(2)
    statuses: dict[str, list[int]] = {ANNA: [], BERT: []}

    def decide(page: Page, email: str, label: str) -> None:
        for picture in pictures:
            start.wait(10)
            # The claim's number alone is what both send: the storage lets one of them through.
            statuses[email].append(page.decide(picture, label).status_code)

    threads = [Thread(target=decide, args=args) for args in ((anna, ANNA, "ok"), (bert, BERT, "defect"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(pair) for pair in zip(*statuses.values(), strict=True)] == [[200, 409]] * 20
    assert len(line.names()) == 20
