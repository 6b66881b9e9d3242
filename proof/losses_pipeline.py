"""The scenarios of predict and move: what comes before, and what the function then does."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from inspection import layout
from local.google.faults import Kind, Once, When
from proof.losses_images import (
    DARK,
    GREY,
    LIGHT,
    MOVE,
    PREDICT,
    PREDICT_VERTEX,
    picture,
)
from proof.losses_stage import Line

NAME = "shift 2/part #7.jpg"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing that a part does, from whatever came before it to what must be true afterwards."""

    name: str
    part: str
    """The identity whose requests are made to fail."""
    prepare: Callable[[Line], Any]
    act: Callable[[Line, Any], None]
    """Until it is done: delivered until it is worked on or a dead letter, sent until it is answered."""
    expect: Callable[[Line, Any], list[str]] = lambda _, __: []
    """What is wrong besides the pictures themselves; given what `prepare` gave."""
    mended_by_client: bool = False
    """Whether the review app's own client mends a failure, so that the page need not ask again."""


# Scenarios


def _announce(line: Line) -> None:
    line.upload(NAME, picture(DARK, 1))


def _flow(line: Line, _: object) -> None:
    line.flow()


def _predicted(grey: int = LIGHT) -> Callable[[Line], None]:
    def prepare(line: Line) -> None:
        line.upload(NAME, picture(grey, 1))
        line.predict()

    return prepare


def _name_taken(line: Line) -> None:
    line.put(f"defect/{NAME}", picture(LIGHT, 2))
    _predicted()(line)


def _both_names_taken(line: Line) -> None:
    one = line.upload(NAME, picture(LIGHT, 1))
    for number, name in enumerate(layout.names_in("defect", NAME, one.generation, one.source)[:2]):
        line.put(name, picture(LIGHT, 3 + number))
    line.predict()


def _stopped_before_its_delete(grey: int) -> Callable[[Line], None]:
    def prepare(line: Line) -> None:
        _predicted(grey)(line)
        line.gate.plan = Once(Kind.UNAVAILABLE, When.BEFORE, identity=MOVE, number=2)
        line.move()

    return prepare


def _stopped_and_decided(line: Line) -> None:
    """A person decides on the copy before the message comes again."""
    _stopped_before_its_delete(GREY)(line)
    (shown,) = line.anna.queue()
    line.anna.decide(shown, "ok")


def _stopped_and_decided_under_another_name(line: Line) -> None:
    """So is what a person has decided on where an earlier picture has the name."""
    line.put("human_decided/shift 2/ok_part #7.jpg", picture(GREY, 2))
    _stopped_and_decided(line)


def _stopped_decided_and_undone_under_another_name(line: Line) -> None:
    """And what was taken back where a later picture has the name."""
    _stopped_before_its_delete(GREY)(line)
    (shown,) = line.anna.queue()
    decision = line.anna.decide(shown, "ok").json()
    line.put(f"unclear/{NAME}", picture(GREY, 6))
    line.anna.undo(decision)


def _told_twice_and_decided(line: Line) -> None:
    """Predict did not hear that its message was taken, and sent another one, which comes once a person has decided."""
    line.upload(NAME, picture(GREY, 1))
    line.gate.plan = Once(Kind.RESET, When.AFTER, identity=PREDICT, number=3)
    line.predict()
    line.predict()
    line.gate.plan = Once(Kind.UNAVAILABLE, When.BEFORE, identity=MOVE, number=2)
    line.move()
    (shown,) = line.anna.queue()
    line.anna.decide(shown, "ok")
    line.predictions.waiting.reverse()


def _predicted_large(line: Line) -> None:
    """A copy to another location, which takes several calls."""
    _predicted()(line)
    line.rewrite_calls = 3


def _predicted_with_full_metadata(line: Line) -> None:
    """The camera's own metadata leaves as little room as it may."""
    line.upload(NAME, picture(GREY, 1), notes="x" * 7_900)
    line.predict()


def _announce_no_picture(line: Line) -> None:
    line.upload(NAME, b"no picture at all")


def _announce_compressed(line: Line) -> None:
    line.upload(NAME, gzip.compress(picture(DARK, 1), mtime=0), content_encoding="gzip")


def _replaced(line: Line) -> None:
    _predicted()(line)
    line.upload(NAME, picture(DARK, 5))


def _replaced_between(line: Line) -> None:
    """The camera sends another picture of the name after the copy, before the message comes again to delete."""
    _stopped_before_its_delete(LIGHT)(line)
    line.upload(NAME, picture(DARK, 5))


def _rejected(line: Line) -> None:
    _announce_no_picture(line)
    line.predict()


def accepted(answer: httpx2.Response) -> None:
    assert answer.status_code in {200, 204}, f"the page was answered {answer.status_code}: {answer.text}"


def _can_be_decided(line: Line, _: object) -> list[str]:
    (shown,) = line.anna.queue()
    decision = line.anna.decide(shown, "ok")
    accepted(decision)
    accepted(line.anna.undo(decision.json()))
    return line.problems()


PIPELINE = (
    Scenario(name="predict, AutoML Vision", part=PREDICT, prepare=_announce, act=_flow),
    Scenario(
        name="predict, Vertex AI", part=PREDICT_VERTEX, prepare=_announce, act=lambda line, _: line.flow(PREDICT_VERTEX)
    ),
    Scenario(name="predict, no picture", part=PREDICT, prepare=_announce_no_picture, act=_flow),
    Scenario(name="predict, compressed", part=PREDICT, prepare=_announce_compressed, act=_flow),
    Scenario(name="move", part=MOVE, prepare=_predicted(), act=_flow),
    Scenario(name="move, a large picture", part=MOVE, prepare=_predicted_large, act=_flow),
    Scenario(
        name="move, metadata is full",
        part=MOVE,
        prepare=_predicted_with_full_metadata,
        act=_flow,
        expect=_can_be_decided,
    ),
    Scenario(name="move, no picture", part=MOVE, prepare=_rejected, act=_flow),
    Scenario(name="move, the name is taken", part=MOVE, prepare=_name_taken, act=_flow),
    Scenario(name="move, two names are taken", part=MOVE, prepare=_both_names_taken, act=_flow),
    Scenario(name="move, stopped before its delete", part=MOVE, prepare=_stopped_before_its_delete(LIGHT), act=_flow),
    Scenario(name="move, stopped, then decided", part=MOVE, prepare=_stopped_and_decided, act=_flow),
    Scenario(
        name="move, stopped, decided, name taken", part=MOVE, prepare=_stopped_and_decided_under_another_name, act=_flow
    ),
    Scenario(
        name="move, stopped, undone, name taken",
        part=MOVE,
        prepare=_stopped_decided_and_undone_under_another_name,
        act=_flow,
    ),
    Scenario(name="move, told twice, then decided", part=MOVE, prepare=_told_twice_and_decided, act=_flow),
    Scenario(name="move, replaced before its turn", part=MOVE, prepare=_replaced, act=_flow),
    Scenario(name="move, replaced before its delete", part=MOVE, prepare=_replaced_between, act=_flow),
)
