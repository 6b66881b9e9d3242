"""Every single request of the line made to fail, each way there is; then no picture may be lost, doubled or overwritten.

python -m proof.losses
"""

import gzip
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from rich.table import Table

from inspection import layout
from local.google.faults import Kind, NoFaults, Once, When
from proof.losses_images import (
    ANNA,
    BERT,
    DARK,
    GREY,
    INBOUND,
    LIGHT,
    MOVE,
    PREDICT,
    PREDICT_VERTEX,
    PREDICTION,
    REVIEW,
    picture,
)
from proof.losses_parts import app_tries_again
from proof.losses_stage import Line, running_line
from proof.report import finish, report_console

NAME = "shift 2/part #7.jpg"
BY_ITSELF = "by itself"
KEPT = "kept as a dead letter"


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


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request of a scenario."""

    scenario: Scenario
    number: int
    method: str
    took_effect: bool
    """False where its own precondition, or that there is no such object, ended it."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way in which one request failed, and what became of the pictures."""

    step: Step
    when: When
    kind: Kind
    every_time: bool
    outcome: str
    problems: tuple[str, ...] = ()


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
    _accepted(line.anna.decide(shown, "ok"))


def _decide_as_bert(line: Line, shown: dict[str, Any]) -> None:
    _accepted(line.bert.decide(shown, "defect"))


def _decide_too_late(line: Line, shown: dict[str, Any]) -> None:
    answer = line.anna.decide(shown, "ok")
    assert answer.status_code == 409, answer.text


def _skip(line: Line, shown: dict[str, Any]) -> None:
    _accepted(line.anna.skip(shown))


def _undo(line: Line, shown: dict[str, Any]) -> None:
    _accepted(line.anna.undo(shown["decision"]))


def _decide_and_undo(line: Line, shown: dict[str, Any]) -> None:
    answer = line.anna.decide(shown, "ok")
    _accepted(answer)
    _accepted(line.anna.undo(answer.json()))


def _guess(line: Line, shown: dict[str, Any]) -> None:
    answer = line.bert.decide(shown, "defect")
    assert answer.status_code == 409, f"a guess at another's claim was answered {answer.status_code}: {answer.text}"


def _claims(path: str) -> Callable[[Line, dict[str, Any]], None]:
    def act(line: Line, shown: dict[str, Any]) -> None:
        body = {"pictures": [{"id": shown["id"], "claim": shown["claim"]}]}
        answer = line.anna.do(path, body)
        _accepted(answer)
        assert not (answer.content and answer.json()["lost"]), answer.text

    return act


def _accepted(answer: httpx2.Response) -> None:
    assert answer.status_code in {200, 204}, f"the page was answered {answer.status_code}: {answer.text}"


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
    _accepted(line.anna.decide(shown, "ok"))
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


def _can_be_decided(line: Line, _: object) -> list[str]:
    (shown,) = line.anna.queue()
    decision = line.anna.decide(shown, "ok")
    _accepted(decision)
    _accepted(line.anna.undo(decision.json()))
    return line.problems()


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


# The matrix

_WAYS = tuple(
    (when, kind) for when in When for kind in Kind if not (kind is Kind.LATE and when is When.AFTER)
)  # an answer that comes late after the effect is a time-out


EVERY_TIME = (Kind.UNAVAILABLE, Kind.RESET)
"""What strikes every attempt as well: an answer that says so, and none."""


def _ways_to_fail(step: Step) -> Iterator[tuple[When, Kind]]:
    """What can happen to this request; what has no effect cannot have it late, nor lose its answer after it."""
    for when, kind in _WAYS:
        if (when is When.BEFORE or step.took_effect) and (kind is not Kind.LATE or not step.method.endswith(READS)):
            yield when, kind


READS = (".get", ".list", ".predict", ".signBlob")


def matrix(
    line: Line, scenarios: Iterable[Scenario] = (*PIPELINE, *REVIEWING), *, deaths: bool = True
) -> Iterator[Cell]:
    """Run every cell: step x before or after its effect x kind; for the pipeline also with every attempt failing.

    Without `deaths`, in which processes of their own do the work, all is done by the functions of this process.
    """
    for scenario in scenarios:
        steps = list(steps_of(line, scenario))
        for step in steps:
            for when, kind in _ways_to_fail(step):
                if kind is Kind.DEATH and not deaths:
                    continue
                yield run(line, step, when, kind, every_time=False)
                if scenario in PIPELINE and kind in EVERY_TIME:
                    yield run(line, step, when, kind, every_time=True)
                if scenario.mended_by_client and kind is not Kind.DEATH:
                    yield run(line, step, when, kind, every_time=False, by_itself=True)


def steps_of(line: Line, scenario: Scenario) -> Iterator[Step]:
    """Each request that the scenario's part makes when nothing fails, as it is counted now."""
    line.reset()
    prepared = scenario.prepare(line)
    line.gate.plan = NoFaults()
    line.requests.clear()
    scenario.act(line, prepared)
    for number, (method, took_effect) in enumerate(line.requests.of(scenario.part), 1):
        yield Step(scenario=scenario, number=number, method=method, took_effect=took_effect)


def run(line: Line, step: Step, when: When, kind: Kind, *, every_time: bool, by_itself: bool = False) -> Cell:
    """Let one request fail, once or at every attempt; `by_itself` if the app's client mends it."""
    scenario = step.scenario
    line.reset()
    prepared = scenario.prepare(line)
    plan = Once(kind, when, identity=scenario.part, number=step.number, always_for=step.method if every_time else None)
    line.gate.plan = plan
    pushes, line.anna.failures, line.bert.failures = line.pushes[scenario.part], 0, 0
    problems: list[str] = []
    try:
        with app_tries_again() if by_itself else nullcontext():
            scenario.act(line, prepared)
    except AssertionError as error:
        problems.append(str(error))
    line.settle()
    if not plan.struck:
        problems.append("the request that was to fail was never made")
    dead = [*line.images.dead, *line.predictions.dead]
    problems += line.problems() + [
        f"a dead letter that says nothing: {letter.body}" for letter in dead if not letter.why
    ]
    tries = (
        1 + line.anna.failures + line.bert.failures if scenario.part == REVIEW else line.pushes[scenario.part] - pushes
    )
    outcome = f"{tries}x"
    if dead:
        outcome = f"{KEPT}: {dead[0].why}"
        if not every_time:
            problems.append(f"one failure is enough for a dead letter: {dead[0].why}")
        line.images.send_dead_letters_again()
        line.predictions.send_dead_letters_again()
        line.settle()
        problems += line.problems()
    if line.found(INBOUND):
        problems.append("a picture stays in the inbound bucket for ever")
    if not problems:
        problems += scenario.expect(line, prepared)
    if by_itself:
        outcome = BY_ITSELF
        if tries > 1:
            problems.append(f"the app did not mend it, though it may try again: the page asked {tries} times")
    return Cell(step=step, when=when, kind=kind, every_time=every_time, outcome=outcome, problems=tuple(problems))


# The report

COLUMNS = tuple(Kind)


@dataclass(kw_only=True)
class _Row:
    """One request, or several of one method after each other of which all is the same."""

    scenario: str
    when: When
    method: str
    first: int
    last: int
    shown: list[str]

    def takes(self, other: "_Row") -> bool:
        same = (self.scenario, self.when, self.method, self.shown)
        if same != (other.scenario, other.when, other.method, other.shown) or other.first != self.last + 1:
            return False
        self.last = other.last
        return True


def table(cells: Sequence[Cell]) -> Table:
    """A row for each request and side of its effect, a column for each kind of failure."""
    table = Table(title=f"{len(cells):,} ways to fail: how often each thing was then tried until it was done")
    for heading in ("what is done", "request", "fails", *COLUMNS, "every time"):
        table.add_column(heading, no_wrap=True)
    by_request: dict[tuple[str, int, When], list[Cell]] = {}
    for cell in cells:
        by_request.setdefault((cell.step.scenario.name, cell.step.number, cell.when), []).append(cell)
    rows: list[_Row] = []
    for (name, number, when), found in sorted(by_request.items(), key=lambda item: _order(item[0])):
        once = {cell.kind: cell for cell in found if not cell.every_time and cell.outcome != BY_ITSELF}
        row = _Row(
            scenario=name,
            when=when,
            method=found[0].step.method.rpartition(".")[2],
            first=number,
            last=number,
            shown=[
                *(_shown_cell([once[kind]]) if kind in once else "" for kind in COLUMNS),
                _shown_cell([cell for cell in found if cell.every_time]),
            ],
        )
        if not (rows and rows[-1].takes(row)):
            rows.append(row)
    last = ""
    for row in rows:
        numbers = f"{row.first}" if row.first == row.last else f"{row.first}-{row.last}"
        table.add_row(row.scenario if row.scenario != last else "", f"{numbers} {row.method}", row.when, *row.shown)
        last = row.scenario
    return table


def _order(row: tuple[str, int, When]) -> tuple[int, int, int]:
    name, number, when = row
    return [scenario.name for scenario in (*PIPELINE, *REVIEWING)].index(name), list(When).index(when), number


def _shown_cell(cells: Sequence[Cell]) -> str:
    if any(cell.problems for cell in cells):
        return "[red]FAILED[/red]"
    return ", ".join(sorted({"kept" if cell.outcome.startswith(KEPT) else cell.outcome for cell in cells}))


def main() -> None:
    """Print the report; exit code 1 if a picture was lost, doubled or overwritten."""
    console = report_console()
    with tempfile.TemporaryDirectory() as folder, running_line(Path(folder)) as line:
        started = time.monotonic()
        with console.status("Failing each request in each way"):
            cells = list(matrix(line))
        seconds = time.monotonic() - started
    console.print(table(cells))
    console.print("kept: as a dead letter that says why, and in its place once it was sent again")
    failed = [cell for cell in cells if cell.problems]
    for cell in failed:
        console.print(describe(cell), style="red", markup=False)
    requests = len({(cell.step.scenario.name, cell.step.number) for cell in cells})
    finish(
        console,
        f"{len(cells):,} ways for {requests} requests of predict, move and the review app to fail, {seconds:.0f} s: "
        f"{len(failed)} pictures lost, doubled, changed or stuck",
        holds=not failed,
    )


def describe(cell: Cell) -> str:
    """One line for a person."""
    step = cell.step
    often = "every time" if cell.every_time else "once"
    return (
        f"{step.scenario.name}: request {step.number} ({step.method}) fails {cell.when} its effect, {cell.kind}, {often}: "
        f"{cell.outcome}; {'; '.join(cell.problems) or 'nothing is wrong'}"
    )


if __name__ == "__main__":
    main()
