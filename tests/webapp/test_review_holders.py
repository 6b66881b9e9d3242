"""What another reviewer holds stays theirs, also for a caller who guesses the number of their claim."""

from collections.abc import Callable

import httpx2
import pytest

from inspection import layout
from local.google.gate import Call
from tests.support.gate import refuse
from tests.webapp.review_line import ANNA, BERT, Line

GUESSES = range(1, 12)
"""Every claim's number that a picture of these tests can have."""

CLAIM_KEYS = ("claimed-by", "claimed-on", "claimed-until")


def claim_of(line: Line) -> dict[str, str]:
    metadata = line.metadata("unclear/a.jpg")
    return {key: metadata[key] for key in CLAIM_KEYS}


def test_a_decision_with_a_guessed_claim_is_refused_and_leaves_the_holders_claim(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    claim = claim_of(line)
    for guess in GUESSES:
        answer = bert.decide(picture | {"claim": str(guess)}, "defect")
        assert (answer.status_code, answer.json()["code"], answer.json()["by"]) == (409, "claimed", ANNA)
        assert claim_of(line) == claim
    assert bert.pictures() == []
    assert [shown["id"] for shown in anna.pictures()] == [picture["id"]], "a page that is loaded again gets it back"
    assert anna.decide(picture).status_code == 200
    assert line.names() == ["human_decided/ok_a.jpg"]
    assert line.metadata("human_decided/ok_a.jpg")[layout.DECIDED_BY] == ANNA


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_guess_that_nobody_took_back_counts_for_nothing(line: Line, when: str) -> None:
    """The instance dies between the two writes."""
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    claim = claim_of(line)

    def the_second_fails(_: Call) -> None:
        getattr(line.gate, when)["storage.objects.update"] = refuse(400)

    line.gate.after["storage.objects.update"] = the_second_fails
    assert bert.decide(picture, "defect").status_code == 503
    assert (line.metadata("unclear/a.jpg").get(layout.DECISION) == "defect") == (when == "before")
    assert claim_of(line) == claim
    answer = bert.decide(picture, "defect")
    assert (answer.status_code, answer.json()["code"]) == (409, "claimed")
    assert bert.pictures() == []
    line.clock.pass_by(seconds=100)
    assert anna.renew(picture).json()["lost"] == []
    assert anna.decide(picture).status_code == 200
    assert line.names() == ["human_decided/ok_a.jpg"]
    assert line.metadata("human_decided/ok_a.jpg")[layout.DECIDED_BY] == ANNA


def test_what_a_guess_left_goes_with_the_claim(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()

    def the_second_fails(_: Call) -> None:
        line.gate.before["storage.objects.update"] = refuse(400)

    line.gate.after["storage.objects.update"] = the_second_fails
    assert bert.decide(picture, "defect").status_code == 503
    claim = str(line.bucket.get_blob("unclear/a.jpg").metageneration)  # pyright: ignore[reportOptionalMemberAccess]
    assert anna.release(picture | {"claim": claim}).status_code == 204
    assert layout.DECISION not in line.metadata("unclear/a.jpg")
    assert len(anna.pictures()) == 1


def test_a_decision_that_is_being_filed_is_not_replaced_by_a_guess(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()

    def guess(_: Call) -> None:
        for claim in GUESSES:
            assert bert.decide(picture | {"claim": str(claim)}, "defect").status_code == 409

    line.gate.before["storage.objects.move"] = guess
    assert anna.decide(picture).status_code == 200
    assert line.names() == ["human_decided/ok_a.jpg"]
    assert line.metadata("human_decided/ok_a.jpg")[layout.DECIDED_BY] == ANNA


def test_a_guess_on_a_picture_whose_claim_has_ended_is_a_decision_like_any_other(line: Line) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    line.clock.pass_by(minutes=3)
    assert bert.decide(picture, "defect").status_code == 200
    assert anna.decide(picture).json()["code"] == "decided"
    assert line.names() == ["human_decided/defect_a.jpg"]
    assert line.metadata("human_decided/defect_a.jpg")[layout.DECIDED_BY] == BERT


@pytest.mark.parametrize("what", ["renew", "skip", "release"])
def test_nothing_else_is_done_to_anothers_claim_by_a_guess(line: Line, what: str) -> None:
    line.put("a.jpg")
    anna, bert = line.page(), line.page(BERT, "page-of-bert")
    [picture] = anna.pictures()
    before = line.metadata("unclear/a.jpg")
    act: Callable[..., httpx2.Response] = getattr(bert, what)
    for guess in GUESSES:
        answer = act(picture | {"claim": str(guess)})
        if what == "renew":
            [lost] = answer.json()["lost"]
            assert (lost["problem"]["code"], lost["problem"]["by"]) == ("claimed", ANNA)
        elif what == "skip":
            assert (answer.status_code, answer.json()["code"]) == (409, "claimed")
        assert line.metadata("unclear/a.jpg") == before
    with line.requests() as methods:
        assert anna.decide(picture).status_code == 200
    assert methods == ["update", "move"], "and the holder's claim is still the newest"


def test_two_windows_of_one_reviewer_do_not_decide_for_each_other(line: Line) -> None:
    line.put("a.jpg")
    one, two = line.page(page="window-1"), line.page(page="window-2")
    [picture] = one.pictures()
    assert two.decide(picture, "defect").json()["code"] == "claimed"
    assert one.decide(picture).status_code == 200
