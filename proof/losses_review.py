"""The scenarios of the review app: what a reviewer has before, what they do, and what must then be true."""

from collections.abc import Callable
from typing import Any

import httpx2

from inspection import layout
from local.google.faults import Kind, Once, When
from proof.losses_images import (
    ANNA,
    BERT,
    GREY,
    PREDICTION,
    REVIEW,
    picture,
)
from proof.losses_pipeline import NAME, Scenario, accepted
from proof.losses_stage import Line


def _unclear(line: Line) -> None:
    line.put(f"unclear/{NAME}", picture(GREY, 1))


def _shown(line: Line) -> dict[str, Any]:
    _unclear(line)
    (shown,) = line.anna.queue()
    return shown


def _shown_and_filed_name_taken(line: Line) -> dict[str, Any]:
    line.put("human_decided/shift 2/ok_part #7.jpg", picture(GREY, 2))
    return _shown(line)


def _decided(line: Line) -> dict[str, Any]:
    shown = _shown(line)
    return shown | {"decision": line.anna.decide(shown, "ok").json()}


def _taken_back(line: Line) -> dict[str, Any]:
    decided = _decided(line)
    line.anna.undo(decided["decision"])
    return decided


def _shown_to_another_by_now(line: Line) -> dict[str, Any]:
    shown = _shown(line)
    line.pass_by(minutes=3)
    assert line.bert.queue()
    return shown


def _decide_and_close(line: Line, shown: dict[str, Any], label: str) -> None:
    """The page is closed before it can ask again."""
    line.anna.ask(f"/api/pictures/{shown['id']}/decision", {"label": label, "claim": shown["claim"], "number": 1})


def _left_half_decided(line: Line) -> dict[str, Any]:
    """Anna's page is closed while her decision's move is on its way; it comes once Bert has the picture."""
    shown = _shown(line)
    line.gate.plan = Once(Kind.LATE, When.BEFORE, identity=REVIEW, number=2)
    _decide_and_close(line, shown, "ok")
    line.pass_by(minutes=3)
    (shown,) = line.bert.queue()
    assert not line.anna.queue(), "two reviewers have the picture"
    line.let_late_requests_happen()
    return shown


def _half_decided(line: Line) -> dict[str, Any]:
    """Her decision is recorded, and its picture not filed."""
    shown = _shown(line)
    line.gate.plan = Once(Kind.UNAVAILABLE, When.BEFORE, identity=REVIEW, number=2)
    _decide_and_close(line, shown, "defect")
    return shown


def _decided_and_name_taken(line: Line) -> dict[str, Any]:
    decided = _decided(line)
    line.put(f"unclear/{NAME}", picture(GREY, 6))
    return decided


def _look(line: Line, _: object) -> None:
    shown = line.anna.queue()
    assert [one["name"].endswith(NAME) for one in shown] == [True], f"another picture is shown, or none: {shown}"


def _look_at_the_image(line: Line, shown: dict[str, Any]) -> None:
    answer = line.anna.image(shown)
    assert answer.status_code == 302, answer.text
    shown["link"] = answer.headers["location"]


def _count(line: Line, _: object) -> None:
    line.counts = True
    line.pass_by(minutes=3)
    line.anna.waiting()


def _decide(line: Line, shown: dict[str, Any]) -> None:
    line.anna.number = 0
    accepted(line.anna.decide(shown, "ok"))


def _decide_as_bert(line: Line, shown: dict[str, Any]) -> None:
    accepted(line.bert.decide(shown, "defect"))


def _decide_too_late(line: Line, shown: dict[str, Any]) -> None:
    answer = line.anna.decide(shown, "ok")
    assert answer.status_code == 409, answer.text


def _skip(line: Line, shown: dict[str, Any]) -> None:
    accepted(line.anna.skip(shown))


def _undo(line: Line, shown: dict[str, Any]) -> None:
    accepted(line.anna.undo(shown["decision"]))


def _decide_and_undo(line: Line, shown: dict[str, Any]) -> None:
    answer = line.anna.decide(shown, "ok")
    accepted(answer)
    accepted(line.anna.undo(answer.json()))


def _guess(line: Line, shown: dict[str, Any]) -> None:
    answer = line.bert.decide(shown, "defect")
    assert answer.status_code == 409, f"a guess at another's claim was answered {answer.status_code}: {answer.text}"


def _claims(path: str) -> Callable[[Line, dict[str, Any]], None]:
    def act(line: Line, shown: dict[str, Any]) -> None:
        body = {"pictures": [{"id": shown["id"], "claim": shown["claim"]}]}
        answer = line.anna.do(path, body)
        accepted(answer)
        assert not (answer.content and answer.json()["lost"]), answer.text

    return act


def _of_anna(line: Line) -> dict[str, str]:
    """Where her picture is, and what it says."""
    (found,) = [found for found in line.found(PREDICTION) if found.read() == picture(GREY, 1)]
    return {"name": found.name, **found.metadata}


def _is_decided(line: Line, _: object) -> list[str]:
    found = _of_anna(line)
    right = found["name"].startswith("human_decided/") and found.get(layout.DECISION) == "ok"
    return [] if right and found.get(layout.DECIDED_BY) == ANNA else [f"the decision does not count: {found}"]


def _is_still_hers(line: Line, shown: dict[str, Any]) -> list[str]:
    if problems := [] if _of_anna(line).get("claimed-by") == ANNA else ["her claim is gone"]:
        return problems
    assert not line.bert.queue(), "two reviewers have the picture"
    accepted(line.anna.decide(shown, "ok"))
    return _is_decided(line, shown)


def _is_decided_by_bert(line: Line, _: object) -> list[str]:
    found = _of_anna(line)
    right = found["name"] == "human_decided/shift 2/defect_part #7.jpg" and found.get(layout.DECISION) == "defect"
    return [] if right and found.get(layout.DECIDED_BY) == BERT else [f"Bert's decision does not count: {found}"]


def _is_recorded(line: Line, _: object) -> list[str]:
    found = _of_anna(line)
    right = found["name"].startswith("unclear/") and found.get(layout.DECISION) == "defect"
    return [] if right else [f"the first decision does not count: {found}"]


def _is_waiting(line: Line, _: object) -> list[str]:
    found = _of_anna(line)
    right = found["name"].startswith("unclear/") and layout.DECISION not in found
    return [] if right else [f"it does not wait any more, or as decided: {found}"]


def _is_shown(_: Line, shown: dict[str, Any]) -> list[str]:
    answer = httpx2.get(shown["link"])
    return (
        [] if answer.content == picture(GREY, 1) else [f"the link leads elsewhere: {answer.status_code} {answer.text}"]
    )


def _is_counted(line: Line, _: object) -> list[str]:
    line.pass_by(minutes=3)
    line.anna.waiting()
    told = line.anna.waiting()
    return [] if told == {"count": 1, "exact": True} else [f"one picture waits, the page is told {told}"]


_CLAIM, _RELEASE = "/api/claims", "/api/claims/release"
REVIEWING = tuple(
    Scenario(name=f"review, {name}", part=REVIEW, prepare=prepare, act=act, expect=expect, mended_by_client=mended)
    for name, prepare, act, expect, mended in (
        ("count what waits", _unclear, _count, _is_counted, True),
        ("next picture", _unclear, _look, _is_waiting, True),
        # The page says that the picture could not be loaded, and has a button to try again.
        ("look at the image", _shown, _look_at_the_image, _is_shown, False),
        ("renew a claim", _shown, _claims(_CLAIM), _is_waiting, True),
        ("end a claim", _shown, _claims(_RELEASE), _is_waiting, True),
        ("skip", _shown, _skip, _is_waiting, True),
        ("decide", _shown, _decide, _is_decided, True),
        ("decide, the name is taken", _shown_and_filed_name_taken, _decide, _is_decided, True),
        ("decide once more", _decided, _decide, _is_decided, True),
        ("decide on another's picture", _shown_to_another_by_now, _decide_too_late, _is_waiting, True),
        ("decide on what another holds, by a guess", _shown, _guess, _is_still_hers, True),
        ("decide on what another left", _left_half_decided, _decide_as_bert, _is_decided_by_bert, True),
        ("decide otherwise", _half_decided, _decide_too_late, _is_recorded, True),
        ("undo", _decided, _undo, _is_waiting, True),
        ("undo, the name is taken", _decided_and_name_taken, _undo, _is_waiting, True),
        ("undo once more", _taken_back, _undo, _is_waiting, True),
        ("decide, then undo", _shown, _decide_and_undo, _is_waiting, True),
    )
)
