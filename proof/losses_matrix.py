"""Each request of each scenario made to fail in each way, and what became of the images."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from local.google.faults import Kind, NoFaults, Once, When
from proof.losses_images import (
    INBOUND,
    REVIEW,
)
from proof.losses_parts import app_tries_again
from proof.losses_pipeline import PIPELINE, Scenario
from proof.losses_review import REVIEWING
from proof.losses_stage import Line

BY_ITSELF = "by itself"
KEPT = "kept as a dead letter"


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
