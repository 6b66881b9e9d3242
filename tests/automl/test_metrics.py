import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as their_confusion_matrix
from sklearn.metrics import precision_recall_curve, precision_recall_fscore_support

from automl.evaluation.metrics import (
    EvaluatedPicture,
    Evaluation,
    MalformedEvaluationError,
    confusion_matrix,
    curve,
    figures,
    worst_mistakes,
)
from inspection.routing import as_score

LABELS = ("crack", "ok", "scratch")
SCORES = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 0.9, 1.0]) | st.floats(0, 1)


def evaluations(truth: st.SearchStrategy[tuple[str, ...]], *, multi_label: bool) -> st.SearchStrategy[Evaluation]:
    scores = st.fixed_dictionaries(dict.fromkeys(LABELS, SCORES))
    picture = st.builds(EvaluatedPicture, name=st.just("x"), labels=truth, scores=scores)
    return st.builds(
        Evaluation,
        model=st.just("m"),
        labels=st.just(LABELS),
        pictures=st.lists(picture, min_size=1, max_size=30).map(tuple),
        multi_label=st.just(multi_label),
    )


SINGLE = evaluations(st.tuples(st.sampled_from(LABELS)), multi_label=False)
MULTI = evaluations(st.sets(st.sampled_from(LABELS)).map(sorted).map(tuple), multi_label=True)


@given(SINGLE | MULTI, SCORES)
def test_figures_are_scikit_learns(evaluation: Evaluation, threshold: float):
    theirs_of_all: Any = precision_recall_fscore_support(
        evaluation.truth,
        evaluation.scores >= as_score(threshold),
        zero_division=np.nan,  # pyright: ignore[reportArgumentType]  # its type says text alone
    )
    precision, recall, f1, _ = theirs_of_all
    for i, label in enumerate(LABELS):
        ours = figures(evaluation, label, threshold)
        for mine, theirs in ((ours.precision, precision[i]), (ours.recall, recall[i]), (ours.f1, f1[i])):
            assert (mine is None and np.isnan(theirs)) or mine == pytest.approx(theirs)


@given(SINGLE | MULTI)
def test_the_curve_is_scikit_learns(evaluation: Evaluation):
    for i, label in enumerate(LABELS):
        ours = curve(evaluation, label)
        assert [figures(evaluation, label, point.threshold) for point in ours] == ours
        if not evaluation.truth[:, i].any():
            continue  # they warn and call the recall 1
        precision, recall, thresholds = precision_recall_curve(evaluation.truth[:, i], evaluation.scores[:, i])
        assert [point.threshold for point in ours] == list(thresholds)
        assert [point.precision for point in ours] == pytest.approx(precision[:-1])
        assert [point.recall for point in ours] == pytest.approx(recall[:-1])


@given(SINGLE)
def test_the_confusion_matrix_is_scikit_learns(evaluation: Evaluation):
    true = [p.labels[0] for p in evaluation.pictures]
    said = [max(LABELS, key=lambda label, p=p: p.scores[label]) for p in evaluation.pictures]
    assert (confusion_matrix(evaluation) == their_confusion_matrix(true, said, labels=LABELS)).all()


def test_several_labels_have_no_confusion_matrix():
    evaluation = Evaluation("m", LABELS, (EvaluatedPicture(name="x", labels=(), scores={}),), multi_label=True)
    with pytest.raises(ValueError, match="several labels"):
        confusion_matrix(evaluation)


def test_the_worst_mistakes_come_first():
    def picture(name: str, label: str, ok: float) -> EvaluatedPicture:
        return EvaluatedPicture(name=name, labels=(label,), scores={"ok": ok, "crack": 1 - ok})

    evaluation = Evaluation(
        "m",
        ("crack", "ok"),
        (
            picture("right", "ok", 0.9),
            picture("bad", "ok", 0.3),
            picture("planted", "crack", 0.99),
            picture("worse", "crack", 0.8),
            picture("unsure but right", "ok", 0.51),
        ),
    )
    worst = worst_mistakes(evaluation)
    assert [(m.picture.name, m.label) for m in worst] == [("planted", "ok"), ("worse", "ok"), ("bad", "crack")]
    assert [m.badness for m in worst] == pytest.approx([0.98, 0.6, 0.4])
    assert [m.picture.name for m in worst_mistakes(evaluation, 1)] == ["planted"]


def test_the_worst_mistakes_with_several_labels():
    def picture(name: str, labels: tuple[str, ...], **scores: float) -> EvaluatedPicture:
        return EvaluatedPicture(name=name, labels=labels, scores=scores)

    evaluation = Evaluation(
        "m",
        ("mods", "rockers"),
        (
            picture("right", ("mods",), mods=0.9, rockers=0.4),
            picture("missing label", ("mods",), mods=0.9, rockers=0.95),
            picture("wrong label", ("mods", "rockers"), mods=0.2, rockers=0.7),
        ),
        multi_label=True,
    )
    assert [(m.picture.name, m.label) for m in worst_mistakes(evaluation)] == [
        ("missing label", "rockers"),
        ("wrong label", "mods"),
    ]


@settings(max_examples=50)
@given(SINGLE | MULTI)
def test_an_evaluation_survives_its_file(evaluation: Evaluation):
    assert Evaluation.from_json(evaluation.to_json()) == evaluation


GOOD = {
    "format": "inspection-evaluation/1",
    "labels": ["ok", "crack"],
    "pictures": [{"name": "1.jpg", "labels": ["ok"], "scores": {"ok": 0.9}}],
}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no JSON"),
        ("[]", "format"),
        (json.dumps({**GOOD, "format": "2"}), "format"),
        (json.dumps({**GOOD, "labels": "ok"}), "labels must be a list"),
        (json.dumps({**GOOD, "pictures": []}), "at least one"),
        (json.dumps({**GOOD, "pictures": [1]}), r"pictures\[0\] is no object"),
        (json.dumps({**GOOD, "pictures": [{"name": 1, "labels": ["ok"], "scores": {}}]}), "needs a"),
        (json.dumps({**GOOD, "pictures": [{"name": "1", "labels": ["dent"], "scores": {}}]}), "'dent'"),
        (json.dumps({**GOOD, "pictures": [{"name": "1", "labels": [], "scores": {}}]}), "0 true labels"),
        (json.dumps({**GOOD, "pictures": [{"name": "1", "labels": ["ok"], "scores": {"ok": 1.2}}]}), "1.2"),
        (json.dumps({**GOOD, "pictures": [{"name": "1", "labels": ["ok"], "scores": {"ok": True}}]}), "True"),
        (json.dumps({**GOOD, "pictures": [{"name": "1", "labels": ["ok"], "scores": {"ok": float("nan")}}]}), "nan"),
    ],
)
def test_what_is_no_evaluation(text: str, told: str):
    assert Evaluation.from_json(json.dumps(GOOD)).pictures[0].labels == ("ok",)
    with pytest.raises(MalformedEvaluationError, match=told):
        Evaluation.from_json(text)
