"""Anything that can happen to the line, in any order, against a simple model of what must be true.

python -m proof.losses_machine [SEQUENCES] [STEPS]
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rich.table import Table

from inspection import layout
from local.google.faults import Kind, NoFaults, Once, Randomly, When
from proof.losses_stage import (
    DARK,
    GREY,
    INBOUND,
    LABELS,
    LIGHT,
    MOVE,
    PREDICT,
    PREDICTION,
    REVIEW,
    Line,
    Page,
    Subscription,
    picture,
    running_line,
)
from proof.report import finish, report_console
from webapp.reviewing import CLAIM_TIME

SEQUENCES = 200
STEPS = 50

Item = TypeVar("Item")

_AT = st.integers(0, 7)
"""Which of those that wait, counted round."""
_KINDS = tuple(kind for kind in Kind if kind is not Kind.DEATH)  # a death costs a process; the matrix has them all
_ANSWERED = (Kind.TOO_MANY, Kind.INTERNAL, Kind.UNAVAILABLE, Kind.RESET)
_REVIEWER = st.sampled_from(("anna", "bert"))


def at_round(choices: Sequence[Item], at: int) -> Item:
    """One of the choices, counted round."""
    return choices[at % len(choices)]


class AnyOrder(RuleBasedStateMachine):
    """Cameras, Pub/Sub, failures and two reviewers, each doing what it may at any time."""

    line: ClassVar[Line]
    done: ClassVar[Counter[str]]
    """How often each thing was done."""

    def __init__(self) -> None:
        super().__init__()
        self.line.reset()
        self._shown: list[tuple[str, dict[str, Any]]] = []
        """Who was shown what, and has done nothing about it."""
        self._undoable: list[tuple[str, str, dict[str, Any]]] = []
        """Who decided on what, and how that was answered."""
        self._decided: dict[str, tuple[str, str]] = {}
        """The model: label and reviewer of each picture with a decision that was answered and not taken back."""
        self._claims: dict[str, tuple[str, datetime]] = {}
        """The model: who was given each picture last, and until when it is theirs."""

    # The camera, and Pub/Sub

    @initialize(
        greys=st.lists(st.sampled_from((DARK, GREY, GREY, GREY, LIGHT)), min_size=3, max_size=6),
        delivered=st.integers(0, 6),
    )
    def begin(self, greys: list[int], delivered: int) -> None:
        """A few pictures are on their way, or there already."""
        for number, grey in enumerate(greys):
            self.upload(f"{number % 3}.jpg", grey)
            if number < delivered:
                self.line.flow()

    @rule(name=st.sampled_from(("0.jpg", "1.jpg", "b/c.jpg")), grey=st.sampled_from((DARK, GREY, GREY, LIGHT)))
    def upload(self, name: str, grey: int) -> None:
        """A new picture, or another one under a name that has been there before."""
        self.line.upload(name, picture(grey, len(self.line.sent)))
        self.done["upload"] += 1

    @precondition(lambda self: self.line.images.waiting)
    @rule(at=_AT)
    def deliver_image(self, at: int) -> None:
        """In any order."""
        self.line.predict(at % len(self.line.images.waiting))
        self.done["push to predict"] += 1

    @precondition(lambda self: self.line.predictions.waiting)
    @rule(at=_AT)
    def deliver_prediction(self, at: int) -> None:
        """In any order."""
        self.line.move(at % len(self.line.predictions.waiting))
        self.done["push to move"] += 1

    @precondition(lambda self: self.line.images.waiting or self.line.predictions.waiting)
    @rule(times=st.integers(1, 6))
    def deliver_some(self, times: int) -> None:
        """In their order."""
        for _ in range(times):
            if self.line.images.waiting:
                self.deliver_image(0)
            if self.line.predictions.waiting:
                self.deliver_prediction(0)

    @precondition(lambda self: self.line.images.waiting or self.line.predictions.waiting)
    @rule(of_images=st.booleans(), at=_AT)
    def deliver_twice(self, of_images: bool, at: int) -> None:
        """Pub/Sub will deliver a message once more than it needs to."""
        subscription = self.line.images if of_images else self.line.predictions
        if subscription.waiting:
            subscription.deliver_twice(at % len(subscription.waiting))
            self.done["message doubled"] += 1

    @precondition(lambda self: self.line.images.dead or self.line.predictions.dead)
    @rule()
    def send_dead_letters_again(self) -> None:
        """As a person does."""
        for subscription in self._subscriptions:
            subscription.send_dead_letters_again()
        self.done["dead letters sent again"] += 1

    # Failures

    @precondition(lambda self: not isinstance(self.line.gate.plan, Once) or self.line.gate.plan.struck > 0)
    @rule(
        kind=st.sampled_from(_KINDS),
        when=st.sampled_from(When),
        identity=st.sampled_from((PREDICT, MOVE, MOVE, REVIEW)),
        number=st.integers(1, 3),
    )
    def fail(self, kind: Kind, when: When, identity: str, number: int) -> None:
        """One of the next requests fails."""
        self.line.gate.plan = Once(kind, when, identity=identity, number=number)
        self.done[f"failure planned: {kind}"] += 1

    @precondition(lambda self: isinstance(self.line.gate.plan, NoFaults))
    @rule(seed=st.integers(0, 9))
    def fail_often(self, seed: int) -> None:
        """Of the functions' requests most fail, so that messages become dead letters; until another failure takes over."""
        self.line.gate.plan = Randomly(1, _ANSWERED, identities={PREDICT, MOVE}, seed=seed)
        self.done["failures planned: many"] += 1

    @precondition(lambda self: isinstance(self.line.gate.plan, Randomly))
    @rule()
    def fail_no_more(self) -> None:
        """What was out of order is mended."""
        self.line.gate.plan = NoFaults()

    @precondition(lambda self: isinstance(self.line.gate.plan, Once) and self.line.gate.plan.kind is Kind.LATE)
    @rule()
    def let_late_requests_happen(self) -> None:
        """What its asker has long given up takes effect now."""
        self.line.let_late_requests_happen()

    # Two reviewers

    @precondition(lambda self: self._shown or self._undoable or self._waits())
    @rule(act=st.sampled_from(("look", "decide", "undo", "skip")), who=_REVIEWER, at=_AT, label=st.sampled_from(LABELS))
    def review(self, act: str, who: str, at: int, label: str) -> None:
        """One rule, as hypothesis leaves out whole rules for whole sequences; what cannot be done is a look."""
        if act == "decide" and self._shown:
            self._decide(*at_round(self._shown, at), label)
        elif act == "skip" and self._shown:
            self._skip(*at_round(self._shown, at))
        elif act == "undo" and self._undoable:
            self._undo(*at_round(self._undoable, at))
        else:
            self._look(who, 1 + at % 3)

    def _waits(self) -> bool:
        return any(found.name.startswith("unclear/") for found in self.line.found(PREDICTION))

    def _look(self, who: str, count: int) -> None:
        """Open the page, or go on."""
        for shown in self._page(who).queue(count):
            self._take(who, shown)
        self.done["reviewer looks"] += 1

    def _decide(self, who: str, shown: dict[str, Any], label: str) -> None:
        """Decide on a picture that was shown, perhaps long ago."""
        source = self._source_of(shown)
        if source is not None and self._may_be_copied_again(source):
            return
        self._shown.remove((who, shown))
        answer = self._page(who).decide(shown, label)
        self.done[f"decision answered {answer.status_code}"] += 1
        if answer.status_code == 200:
            assert source is not None
            assert self._is_free_for(who, source), f"{who} has decided on {source}, which another has: {self._claims}"
            self._claims.pop(source, None)
            self._decided[source] = (label, self._page(who).email)
            self._undoable.append((who, source, answer.json()))

    def _undo(self, who: str, source: str, decision: dict[str, Any]) -> None:
        """Take a decision back."""
        self._undoable.remove((who, source, decision))
        answer = self._page(who).undo(decision)
        self.done[f"undo answered {answer.status_code}"] += 1
        if answer.status_code == 200:
            # She may have decided on it twice, on two looks at it, and take that one decision back twice.
            self._decided.pop(source, None)
            self._take(who, answer.json())

    def _skip(self, who: str, shown: dict[str, Any]) -> None:
        """Leave a picture to others."""
        self._shown.remove((who, shown))
        source = self._source_of(shown)
        answer = self._page(who).skip(shown)
        self.done[f"skip answered {answer.status_code}"] += 1
        if answer.status_code == 204 and source is not None:
            assert self._is_free_for(who, source), f"{who} has skipped {source}, which another has: {self._claims}"
            self._claims.pop(source, None)

    @precondition(lambda self: self._shown)
    @rule(minutes=st.sampled_from((1, 3)))
    def pass_by(self, minutes: int) -> None:
        """Claims run out."""
        self.line.pass_by(minutes)

    # What must be true

    @invariant()
    def nothing_is_lost(self) -> None:
        """Not even in the middle."""
        bad = [problem for problem in self.line.problems() if problem.startswith(("LOST", "CHANGED", "FOREIGN"))]
        assert not bad, bad

    def teardown(self) -> None:
        """In the end every picture is in exactly one place, and every decision that was answered counts."""
        self.line.gate.plan = NoFaults()
        self.line.settle()
        while any(subscription.dead for subscription in self._subscriptions):
            for subscription in self._subscriptions:
                subscription.send_dead_letters_again()
            self.line.settle()
        problems = self.line.problems()
        assert not problems, problems
        decided = {
            found.metadata[layout.SOURCE]: (found.metadata[layout.DECISION], found.metadata[layout.DECIDED_BY])
            for found in self.line.found(PREDICTION)
            if found.name.startswith("human_decided/")
        }
        assert decided == self._decided

    @property
    def _subscriptions(self) -> tuple[Subscription, Subscription]:
        return self.line.images, self.line.predictions

    def _page(self, who: str) -> Page:
        return self.line.anna if who == "anna" else self.line.bert

    def _take(self, who: str, shown: dict[str, Any]) -> None:
        """What the page has been given is nobody else's."""
        source = self._source_of(shown)
        assert source is not None, f"{shown} is nowhere"
        assert self._is_free_for(who, source), f"{who} is given {source}, which another has: {self._claims}"
        self._claims[source] = (who, self.line.now + CLAIM_TIME)
        self._shown.append((who, shown))

    def _is_free_for(self, who: str, source: str) -> bool:
        holder, until = self._claims.get(source, (who, self.line.now))
        return holder == who or until <= self.line.now

    def _may_be_copied_again(self, source: str) -> bool:
        """Whether a decision may lead to a second copy, as docs/decisions/0010-repeated-messages-are-marked.md says.

        Its original was not deleted yet, and Pub/Sub has a message about it that passes for the first.
        """
        inbound = {layout.source_uri(INBOUND, found.name, found.generation) for found in self.line.found(INBOUND)}
        return source in inbound and any(source in one.passing_for_first() for one in self._subscriptions)

    def _source_of(self, shown: dict[str, Any]) -> str | None:
        """Which picture that is, wherever it is by now."""
        name, generation = self.line.shown(shown)
        for found in self.line.found(PREDICTION):
            if found.metadata.get("decided-from") == f"{name}#{generation}" or (
                (found.name, found.generation) == (name, generation)
            ):
                return found.metadata[layout.SOURCE]
        return None


def explore(line: Line, *, sequences: int, steps: int, derandomize: bool, shortest: bool = True) -> Counter[str]:
    """Run that many sequences of steps; what was done in them. Without `shortest` the first failure is enough.

    Raises:
        AssertionError: something was not as it must be; hypothesis prints the shortest way to it that it finds.
    """
    AnyOrder.line, AnyOrder.done = line, Counter()
    how = settings(
        max_examples=sequences,
        stateful_step_count=steps,
        derandomize=derandomize,
        phases=[Phase.generate, *([Phase.shrink] if shortest else [])],
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    run_state_machine_as_test(AnyOrder, settings=how)
    return AnyOrder.done


def main() -> None:
    """Print what was done; a traceback with the steps if something was not as it must be."""
    sequences, steps = (int(text) for text in (*sys.argv[1:], *(str(SEQUENCES), str(STEPS))[len(sys.argv) - 1 :]))
    console = report_console()
    with tempfile.TemporaryDirectory() as folder, running_line(Path(folder)) as line:
        started = time.monotonic()
        with console.status(f"{sequences} sequences of up to {steps} steps"):
            done = explore(line, sequences=sequences, steps=steps, derandomize=False)
        seconds = time.monotonic() - started
    table = Table("what", "how often", title=f"{sequences} sequences in any order")
    for what, number in sorted(done.items()):
        table.add_row(what, str(number))
    console.print(table)
    finish(
        console,
        f"{sequences} sequences of up to {steps} steps in any order ({done.total():,} steps), {seconds:.0f} s: nothing lost, "
        "every decision counts",
        holds=True,
    )


if __name__ == "__main__":
    main()
