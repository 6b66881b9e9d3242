import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from automl.evaluation.metrics import EvaluatedPicture, Evaluation
from automl.evaluation.thresholds import Costs, Expected, Outcomes, choose, error_bound
from inspection.labels import UNCLEAR
from inspection.routing import Thresholds, folder_for

LABELS = ("crack", "ok", "scratch")
DEFECTS = ("crack", "scratch")
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1)
AMOUNTS = st.sampled_from([0.0, 1.0, 5.0]) | st.floats(0, 1000)


def picture(label: str, *scores: float) -> EvaluatedPicture:
    return EvaluatedPicture(name="x", labels=(label,), scores=dict(zip(LABELS, scores, strict=True)))


EVALUATIONS = st.lists(
    st.builds(picture, st.sampled_from(LABELS), SCORES, SCORES, SCORES), min_size=2, max_size=14
).map(lambda pictures: Evaluation("m", LABELS, tuple(pictures)))
COSTS = st.builds(Costs, escaped_defect=AMOUNTS, false_reject=AMOUNTS, reviewer_minute=AMOUNTS)


def spelled_out(evaluation: Evaluation, costs: Costs, thresholds: Thresholds, defect_share: float | None) -> Expected:
    """What is expected of a thousand pictures, one picture at a time and by the pipeline's own routing."""
    defective = [p.labels[0] in DEFECTS for p in evaluation.pictures]
    share = sum(defective) / len(defective) if defect_share is None else defect_share
    total = Expected()
    for p, is_defect in zip(evaluation.pictures, defective, strict=True):
        weight = 1000 * (share / sum(defective) if is_defect else (1 - share) / (len(defective) - sum(defective)))
        best = best_label(p)
        folder = folder_for(best, p.scores[best], thresholds)
        if folder == UNCLEAR:
            total += Expected(unclear=weight, cost=weight * costs.reviewer_minute * costs.seconds_a_picture / 60)
        elif is_defect and folder not in DEFECTS:
            total += Expected(escaped=weight, cost=weight * costs.escaped_defect)
        elif not is_defect and folder in DEFECTS:
            total += Expected(false_rejects=weight, cost=weight * costs.false_reject)
    return total


def best_label(p: EvaluatedPicture) -> str:
    return max(LABELS, key=p.scores.__getitem__)


def close(one: Expected, other: Expected) -> bool:
    return all(math.isclose(a, vars(other)[k], rel_tol=1e-9, abs_tol=1e-6) for k, a in vars(one).items())


def with_both_kinds(evaluation: Evaluation) -> Evaluation:
    assume(len({p.labels[0] in DEFECTS for p in evaluation.pictures}) == 2)
    return evaluation


def cheapest(evaluation: Evaluation, costs: Costs, share: float | None) -> float:
    """The least cost of all combinations of thresholds."""
    tried = sorted({*map(float, evaluation.best_scores), 1.0})
    return min(
        spelled_out(
            evaluation,
            costs,
            Thresholds(labels=LABELS, common=1.0, by_label=dict(zip(LABELS, combination, strict=True))),
            share,
        ).cost
        for combination in itertools.product(tried, repeat=len(LABELS))
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.builds(picture, st.sampled_from(LABELS), SCORES, SCORES, SCORES), min_size=2, max_size=6),
    COSTS,
    st.none() | st.floats(0.01, 0.99),
)
def test_nothing_is_cheaper_than_the_choice(pictures: list[EvaluatedPicture], costs: Costs, share: float | None):
    evaluation = with_both_kinds(Evaluation("m", LABELS, tuple(pictures)))
    outcomes = Outcomes(evaluation, costs, defects=DEFECTS, defect_share=share)
    choice = choose(outcomes, Thresholds(labels=LABELS, common=1.0), least_pictures=1)
    by_brute_force = cheapest(evaluation, costs, share)
    assert choice.expected.cost == pytest.approx(by_brute_force, rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(EVALUATIONS, COSTS, st.none() | st.floats(0.01, 0.99), st.integers(1, 6), SCORES)
def test_expected_figures_are_the_routing_s(
    evaluation: Evaluation, costs: Costs, share: float | None, least: int, common: float
):
    outcomes = Outcomes(with_both_kinds(evaluation), costs, defects=DEFECTS, defect_share=share)
    now = Thresholds(labels=LABELS, common=common, by_label={"ok": 0.5})
    choice = choose(outcomes, now, least_pictures=least)
    chosen = Thresholds(labels=LABELS, common=common, by_label={"ok": 0.5, **choice.thresholds})
    assert close(choice.expected, spelled_out(evaluation, costs, chosen, share))
    assert close(choice.before, spelled_out(evaluation, costs, now, share))
    for label in choice.labels:
        assert 0 <= label.in_force <= 1
        mine = [p.scores[label.label] >= label.in_force for p in evaluation.pictures if label.label == best_label(p)]
        assert (label.pictures, label.sure) == (len(mine), sum(mine))


@settings(deadline=None)
@given(EVALUATIONS, COSTS, st.integers(1, 8))
def test_never_on_less_evidence_than_asked_for(evaluation: Evaluation, costs: Costs, least: int):
    outcomes = Outcomes(with_both_kinds(evaluation), costs, defects=DEFECTS)
    choice = choose(outcomes, Thresholds(labels=LABELS, common=0.8), least_pictures=least)
    for label in choice.labels:
        assert (label.threshold is None) == (label.pictures < least)
        if label.threshold is not None:
            assert label.sure >= least or label.sure == 0
        else:
            assert label.in_force == 0.8
    assert set(choice.thresholds) == {c.label for c in choice.labels if c.pictures >= least}


@settings(max_examples=60, deadline=None)
@given(EVALUATIONS, COSTS)
def test_the_curve_is_what_each_threshold_leads_to(evaluation: Evaluation, costs: Costs):
    outcomes = Outcomes(with_both_kinds(evaluation), costs, defects=DEFECTS)
    for label in LABELS:
        curve = outcomes.curve(label)
        assert curve.thresholds[-1] == 1.0
        assert (np.diff(curve.thresholds) > 0).all()
        for i, threshold in enumerate(curve.thresholds):
            expected = outcomes.expected(label, float(threshold))
            assert curve.cost[i] == pytest.approx(expected.cost, abs=1e-6)
            assert curve.unclear[i] == pytest.approx(expected.unclear, abs=1e-6)
            assert curve.errors[i] == pytest.approx(expected.escaped + expected.false_rejects, abs=1e-6)


def separated(good: int, bad: int) -> Evaluation:
    """Good ones at 0.9234 and 0.6 for `ok`; defects among them only at 0.6."""
    return Evaluation(
        "m",
        ("defect", "ok"),
        tuple(
            EvaluatedPicture(name="x", labels=(label,), scores={"ok": ok, "defect": 1 - ok})
            for label, ok, count in (
                ("ok", 0.9234, good),
                ("ok", 0.6, good),
                ("defect", 0.6, bad),
                ("defect", 0.1, good),
            )
            for _ in range(count)
        ),
    )


def test_the_strictest_of_equal_thresholds_in_few_decimals():
    dear = Costs(escaped_defect=1000, false_reject=10, reviewer_minute=1)
    now = Thresholds(labels=("defect", "ok"), common=0.8)
    choice = choose(Outcomes(separated(40, 5), dear, defects=["defect"]), now)
    assert choice.thresholds == {"defect": 0.9, "ok": 0.92}
    cheap = Costs(escaped_defect=0.01, false_reject=10, reviewer_minute=10)
    assert choose(Outcomes(separated(40, 5), cheap, defects=["defect"]), now).thresholds == {"defect": 0.9, "ok": 0.6}


def test_as_many_decimals_as_the_decision_needs():
    pictures = [
        EvaluatedPicture(name="x", labels=(label,), scores={"ok": score, "defect": 1 - score})
        for label, score in (("ok", 0.90347), ("defect", 0.90339))
        for _ in range(40)
    ]
    costs = Costs(escaped_defect=1000, false_reject=10, reviewer_minute=1)
    outcomes = Outcomes(Evaluation("m", ("defect", "ok"), tuple(pictures)), costs, defects=["defect"])
    choice = choose(outcomes, Thresholds(labels=("defect", "ok"), common=0.8))
    assert choice.thresholds == {"ok": 0.9034}
    assert choice.expected.escaped == 0


def test_where_reviewing_is_free_everything_is_reviewed():
    free = Costs(escaped_defect=1, false_reject=1, reviewer_minute=0)
    now = Thresholds(labels=("defect", "ok"), common=0.8)
    choice = choose(Outcomes(separated(40, 5), free, defects=["defect"]), now)
    assert choice.thresholds == {"defect": 1.0, "ok": 1.0}
    assert choice.expected.unclear == pytest.approx(1000)


def test_the_share_of_defects_in_production_counts():
    """Twenty escapes in the test set are many; where defects are rare they are worth less than the reviews."""
    costs = Costs(escaped_defect=10, false_reject=1, reviewer_minute=6, seconds_a_picture=10)
    now = Thresholds(labels=("defect", "ok"), common=0.8)
    often, seldom = (
        choose(Outcomes(separated(40, 20), costs, defects=["defect"], defect_share=share), now)
        for share in (None, 0.001)
    )
    assert often.defect_share == pytest.approx(60 / 140)
    assert often.thresholds["ok"] == 0.92
    assert seldom.thresholds["ok"] == 0.6
    assert seldom.expected.escaped == pytest.approx(1000 * 0.001 * 20 / 60)


def test_bounds_of_the_error():
    # Clopper and Pearson (1934), one-sided 95 %: tables of the rule of three and its neighbours.
    assert error_bound(0, 30) == pytest.approx(1 - 0.05 ** (1 / 30))
    assert error_bound(0, 3000) == pytest.approx(3 / 3000, rel=0.01)
    assert error_bound(1, 100) == pytest.approx(0.0466, abs=1e-4)
    assert error_bound(0, 0) == error_bound(5, 5) == 1
    # With that share the observed count, or fewer, comes up one time in twenty.
    p = error_bound(4, 50)
    assert sum(math.comb(50, k) * p**k * (1 - p) ** (50 - k) for k in range(5)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("defects", "share", "told"),
    [
        (["dent"], None, "'dent'"),
        (["ok", "defect"], None, "is good"),
        (["defect"], 0.0, "0.0"),
        (["defect"], 1.5, "1.5"),
    ],
)
def test_what_cannot_be_weighed(defects: list[str], share: float | None, told: str):
    costs = Costs(escaped_defect=1, false_reject=1, reviewer_minute=1)
    with pytest.raises(ValueError, match=told):
        Outcomes(separated(5, 5), costs, defects=defects, defect_share=share)


def test_a_hundred_thousand_pictures_have_as_many_thresholds():
    random = np.random.default_rng(7)
    ok = random.random(100_000)
    evaluation = Evaluation(
        "m",
        ("defect", "ok"),
        tuple(
            EvaluatedPicture(
                name="x", labels=("ok" if r < s else "defect",), scores={"ok": float(s), "defect": float(1 - s)}
            )
            for s, r in zip(ok, random.random(100_000), strict=True)
        ),
    )
    # A picture that is ok with probability s: reviewing (1) is cheaper where a mistake (4) has more than a quarter.
    costs = Costs(escaped_defect=4, false_reject=4, reviewer_minute=60, seconds_a_picture=1)
    choice = choose(Outcomes(evaluation, costs, defects=["defect"]), Thresholds(labels=("defect", "ok"), common=0.8))
    assert len(choice.labels[0].curve.thresholds) > 49_000
    assert choice.thresholds == {"defect": pytest.approx(0.75, abs=0.03), "ok": pytest.approx(0.75, abs=0.03)}
