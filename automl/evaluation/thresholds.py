"""The thresholds that cost least, from an evaluation and from what each outcome costs.

The routing is exactly :mod:`inspection.routing`: only the best label of a picture is looked at, and the picture is sure
if that label's score reaches that label's threshold; otherwise it is unclear and a person looks at it. So each picture
depends on one threshold alone, the one of its best label. The total cost is a sum with one term for each label, and
each label's threshold is chosen by itself: sort its pictures by score, add up from the highest, take the least.

What a picture costs:

    sure, said to be good, but a defect        an escaped defect
    sure, said to be a defect, but good        a false reject
    unclear                                    a reviewer's time (who is taken to be right)
    everything else                            nothing; one kind of defect taken for another included
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from automl.evaluation.metrics import Bools, Evaluation, Floats, Ints
from inspection.routing import Thresholds, as_score

LEAST_PICTURES = 30
"""Of evidence: with no mistake in 30, the rule of three still allows one in ten."""

CONFIDENCE = 0.95
PICTURES = 1000
"""Expected figures are for so many."""

_Number = TypeVar("_Number", np.float64, np.intp)

_FEWEST_DECIMALS = 2
_MOST_DECIMALS = 17
_EQUAL = 1e-9
"""Relative; costs closer than this differ by rounding alone."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """In any one currency.

    Raises:
        ValueError: one is no amount.
    """

    escaped_defect: float
    false_reject: float
    reviewer_minute: float
    seconds_a_picture: float = 5.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; give 0 or more")

    @property
    def review(self) -> float:
        """What it costs to have a person look at one picture."""
        return self.reviewer_minute * self.seconds_a_picture / 60


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is to be expected of a thousand pictures from production."""

    escaped: float = 0.0
    false_rejects: float = 0.0
    unclear: float = 0.0
    cost: float = 0.0

    def __add__(self, other: "Expected") -> "Expected":
        return Expected(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class LabelCurve:
    """One label at every threshold that makes a difference, the lowest first; arrays of one length.

    The last is 1.0 with nothing sure, unless a picture has that very score.
    """

    label: str
    thresholds: Floats
    sure: Ints
    """Pictures of the evaluation whose best label this is and that reach the threshold."""
    wrong: Ints
    """Those of them that would escape, or be rejected falsely."""
    errors: Floats
    """The same, of a thousand."""
    unclear: Floats
    """Of a thousand."""
    cost: Floats
    """Of a thousand."""
    pictures: int
    """Whose best label this is."""
    share_unclear: Floats
    """Of the pictures whose best label this is, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class LabelChoice:
    """What was chosen for one label, and on what evidence."""

    label: str
    is_defect: bool
    threshold: float | None
    """None: the evidence is too small, and nothing is chosen."""
    in_force: float
    """The threshold that `expected` is for: the chosen one, or what holds without it."""
    pictures: int
    """Of the evaluation whose best label this is: the evidence."""
    sure: int
    wrong: int
    error_bound: float
    """The share of wrong ones among the sure may be as high as this (95 % confidence, the evaluation's own mix)."""
    expected: Expected
    curve: LabelCurve


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen thresholds and what they lead to."""

    labels: tuple[LabelChoice, ...]
    defect_share: float
    least_pictures: int
    expected: Expected
    before: Expected
    """With the thresholds that held before."""

    @property
    def thresholds(self) -> dict[str, float]:
        """Those that were chosen."""
        return {choice.label: choice.threshold for choice in self.labels if choice.threshold is not None}


class Outcomes:
    """The pictures of an evaluation, each with its weight in a thousand from production.

    Args:
        evaluation: the scores.
        costs: of each outcome.
        defects: the labels that mean a defect. A picture with any of them is one.
        defect_share: of defects in production. Test sets hold more than a line makes: every picture is weighted so that
            the shares are production's (prior correction). None: the evaluation's own share.

    Raises:
        ValueError: an unknown label, a share that is none, or no picture of one kind, so that nothing is known of it.
    """

    def __init__(
        self, evaluation: Evaluation, costs: Costs, *, defects: Iterable[str], defect_share: float | None = None
    ) -> None:
        self.evaluation = evaluation
        self.costs = costs
        self._is_defect_label = np.zeros(len(evaluation.labels), dtype=np.bool_)
        self._is_defect_label[[evaluation.column(label) for label in defects]] = True
        defective: Bools = np.asarray(evaluation.truth[:, self._is_defect_label].any(axis=1))
        count, of_defects = len(defective), int(defective.sum())
        if of_defects in {0, count}:
            kind = "a defect" if of_defects == 0 else "good"
            raise ValueError(f"none of the {count} pictures is {kind}: what a mistake about one costs cannot be told")
        self.defect_share = of_defects / count if defect_share is None else defect_share
        if not 0 < self.defect_share < 1:
            raise ValueError(f"the share of defects is {self.defect_share}; it lies between 0 and 1, both excluded")
        self._weights: Floats = PICTURES * np.where(
            defective, self.defect_share / of_defects, (1 - self.defect_share) / (count - of_defects)
        )
        # Wrong if sure: a defect said to be good escapes, a good one said to be a defect is rejected.
        self._wrong: Bools = defective != self._is_defect_label[evaluation.best]

    def is_defect(self, label: str) -> bool:
        """Whether the label means a defect."""
        return bool(self._is_defect_label[self.evaluation.column(label)])

    def expected(self, label: str, threshold: float) -> Expected:
        """Of the pictures whose best label this is, in a thousand of all."""
        mine = self.evaluation.best == self.evaluation.column(label)
        sure = mine & (self.evaluation.best_scores >= as_score(threshold))
        errors = float(self._weights[sure & self._wrong].sum())
        unclear = float(self._weights[mine & ~sure].sum())
        defect = self.is_defect(label)
        return Expected(
            escaped=0.0 if defect else errors,
            false_rejects=errors if defect else 0.0,
            unclear=unclear,
            cost=errors * self._error_cost(label) + unclear * self.costs.review,
        )

    def curve(self, label: str) -> LabelCurve:
        """Every threshold that makes a difference for this label, and what it leads to."""
        mine = np.flatnonzero(self.evaluation.best == self.evaluation.column(label))
        mine = mine[np.argsort(self.evaluation.best_scores[mine], kind="stable")]
        scores, weights, wrong = self.evaluation.best_scores[mine], self._weights[mine], self._wrong[mine]
        thresholds, first = np.unique(scores, return_index=True)
        if not len(thresholds) or thresholds[-1] < 1:
            thresholds, first = np.append(thresholds, 1.0), np.append(first, len(scores))
        errors = _sums_from(first, weights * wrong)
        unclear = weights.sum() - _sums_from(first, weights)
        return LabelCurve(
            label=label,
            thresholds=thresholds,
            sure=len(scores) - first,
            wrong=_sums_from(first, wrong.astype(np.intp)),
            errors=errors,
            unclear=unclear,
            cost=errors * self._error_cost(label) + unclear * self.costs.review,
            pictures=len(scores),
            share_unclear=first / max(len(scores), 1),
        )

    def _error_cost(self, label: str) -> float:
        return self.costs.false_reject if self.is_defect(label) else self.costs.escaped_defect


def choose(outcomes: Outcomes, now: Thresholds, *, least_pictures: int = LEAST_PICTURES) -> Choice:
    """The threshold that costs least for each label that has the evidence for it.

    Never on fewer than `least_pictures`: so many pictures must have the label as their best one, and so many of them must be
    sure at the threshold (or none: then everything of this label goes to a person). A label without is left
    as it is `now`. Of thresholds that cost the same the strictest is taken, written with as few decimals as can be.
    """
    labels = tuple(_choose(outcomes, label, now, least_pictures) for label in outcomes.evaluation.labels)
    before = (outcomes.expected(label, now.for_label(label)) for label in outcomes.evaluation.labels)
    return Choice(
        labels=labels,
        defect_share=outcomes.defect_share,
        least_pictures=least_pictures,
        expected=sum((choice.expected for choice in labels), Expected()),
        before=sum(before, Expected()),
    )


def error_bound(wrong: int, pictures: int) -> float:
    """The highest share of wrong ones that `wrong` in `pictures` leaves likely (Clopper-Pearson, one-sided, 95 %).

    With none wrong this is the rule of three: about 3 / pictures.
    """
    if wrong >= pictures:
        return 1.0
    return float(special.betaincinv(wrong + 1, pictures - wrong, CONFIDENCE))


def _choose(outcomes: Outcomes, label: str, now: Thresholds, least_pictures: int) -> LabelChoice:
    curve = outcomes.curve(label)
    threshold = _cheapest(curve, least_pictures) if curve.pictures >= least_pictures else None
    in_force = now.for_label(label) if threshold is None else threshold
    at = int(np.searchsorted(curve.thresholds, as_score(in_force)))
    sure, wrong = (int(curve.sure[at]), int(curve.wrong[at])) if at < len(curve.thresholds) else (0, 0)
    return LabelChoice(
        label=label,
        is_defect=outcomes.is_defect(label),
        threshold=threshold,
        in_force=in_force,
        pictures=curve.pictures,
        sure=sure,
        wrong=wrong,
        error_bound=error_bound(wrong, sure),
        expected=outcomes.expected(label, in_force),
        curve=curve,
    )


def _cheapest(curve: LabelCurve, least_pictures: int) -> float:
    # The lowest threshold is sure of all pictures: one is always allowed.
    allowed = np.flatnonzero((curve.sure >= least_pictures) | (curve.sure == 0))
    costs = curve.cost[allowed]
    least = costs.min()
    best = int(allowed[np.flatnonzero(costs <= least + _EQUAL * max(abs(least), 1))[-1]])
    return _short(float(curve.thresholds[best]), float(curve.thresholds[best - 1]) if best else -1.0)


def _short(threshold: float, above: float) -> float:
    """The same decisions with fewer decimals: at most `threshold`, and still over `above`."""
    exact = Decimal(repr(threshold))
    for decimals in range(_FEWEST_DECIMALS, _MOST_DECIMALS):
        short = float(exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_FLOOR))
        if as_score(short) > above:
            return short
    return threshold


def _sums_from(first: Ints, values: NDArray[_Number]) -> NDArray[_Number]:
    """For each index the sum of the values from there to the end."""
    return np.append(np.cumsum(values[::-1])[::-1], values.dtype.type(0))[first]
