"""How good a model is: from the scores it gave to pictures whose labels are known.

`Evaluation` is the one file between `inspection model evaluate`, which writes it, and whatever reads it. Its JSON:

    {
      "format": "inspection-evaluation/1",
      "model": "projects/p/locations/us-central1/models/ICN1",
      "labels": ["defect", "ok"],
      "multiLabel": false,
      "pictures": [
        {"name": "gs://bucket/7.jpg", "labels": ["ok"], "scores": {"defect": 0.02, "ok": 0.98}}
      ]
    }
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspection.routing import as_score

FORMAT = "inspection-evaluation/1"

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]


class MalformedEvaluationError(ValueError):
    """A file that is no evaluation; the text says where and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedPicture:
    """One picture: what it is, and what the model says."""

    name: str
    """Where it is: `gs://bucket/name`, or a file."""
    labels: tuple[str, ...]
    """The true ones; exactly one unless several are allowed."""
    scores: Mapping[str, float] = field(repr=False)
    """From 0 to 1; a label that the model did not name has 0."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model for the pictures of one (test) set."""

    model: str
    labels: tuple[str, ...]
    pictures: tuple[EvaluatedPicture, ...]
    multi_label: bool = False

    def to_json(self) -> str:
        """The file's text; one picture a line, so that two evaluations can be compared by eye."""
        lines = ",\n".join(
            "    "
            + json.dumps({"name": p.name, "labels": list(p.labels), "scores": dict(p.scores)}, ensure_ascii=False)
            for p in self.pictures
        )
        return (
            f'{{\n  "format": {json.dumps(FORMAT)},\n  "model": {json.dumps(self.model)},\n'
            f'  "labels": {json.dumps(list(self.labels), ensure_ascii=False)},\n'
            f'  "multiLabel": {json.dumps(self.multi_label)},\n  "pictures": [\n{lines}\n  ]\n}}\n'
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "Evaluation":
        """Read a file's text; unknown fields are ignored.

        Raises:
            MalformedEvaluationError: it is none.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MalformedEvaluationError(f"no JSON: {error}") from error
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:  # pyright: ignore[reportUnknownMemberType]
            raise MalformedEvaluationError(
                f'its "format" is not {FORMAT!r}: give the JSON that `inspection model evaluate` wrote'
            )
        whole: dict[str, Any] = fields  # pyright: ignore[reportUnknownVariableType]
        labels = _texts(whole.get("labels"), "labels")
        multi_label = whole.get("multiLabel") is True
        pictures = whole.get("pictures")
        if not isinstance(pictures, list) or not pictures or not labels:
            raise MalformedEvaluationError('it needs "labels" and "pictures", at least one of each')
        raw_pictures: list[Any] = pictures  # pyright: ignore[reportUnknownVariableType]
        return cls(
            model=str(whole.get("model", "")),
            labels=labels,
            pictures=tuple(_picture(raw, i, labels, multi_label=multi_label) for i, raw in enumerate(raw_pictures)),
            multi_label=multi_label,
        )

    @cached_property
    def truth(self) -> Bools:
        """[pictures, labels]: whether the picture has the label."""
        return np.array([[label in p.labels for label in self.labels] for p in self.pictures], dtype=np.bool_)

    @cached_property
    def scores(self) -> Floats:
        """[pictures, labels], from 0 to 1, rounded as the line compares them with thresholds."""
        return np.array(
            [[as_score(p.scores.get(label, 0.0)) for label in self.labels] for p in self.pictures], dtype=np.float64
        )

    @cached_property
    def best(self) -> Ints:
        """[pictures]: index of the label with the highest score, of equal ones the first."""
        return self.scores.argmax(axis=1)

    @cached_property
    def best_scores(self) -> Floats:
        """[pictures]: the highest score."""
        return self.scores.max(axis=1)

    def column(self, label: str) -> int:
        """The label's column in the arrays.

        Raises:
            ValueError: the model has no such label.
        """
        if label not in self.labels:
            raise ValueError(f"the model has no label {label!r}; it has {', '.join(self.labels)}")
        return self.labels.index(label)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One label at one threshold: a picture counts as having the label if its score reaches the threshold."""

    label: str
    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float | None:
        """Share of right ones among the pictures that reach the threshold; None if none does."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Share found of the pictures that have the label; None if none has."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where no picture has the label or reaches the threshold."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A picture about which the model and its label differ."""

    picture: EvaluatedPicture
    label: str
    """What the model said, or, of several allowed labels, the one that it is most wrong about."""
    badness: float
    """From 0 to 1: how much surer the model was of the wrong than of the right."""


def figures(evaluation: Evaluation, label: str, threshold: float) -> Figures:
    """One label at one threshold."""
    column = evaluation.column(label)
    said, true = evaluation.scores[:, column] >= as_score(threshold), evaluation.truth[:, column]
    return Figures(
        label=label,
        threshold=threshold,
        true_positives=int((said & true).sum()),
        false_positives=int((said & ~true).sum()),
        false_negatives=int((~said & true).sum()),
    )


def curve(evaluation: Evaluation, label: str) -> list[Figures]:
    """One label at each score that a picture has: all thresholds between which anything changes, the lowest first."""
    column = evaluation.column(label)
    order = np.argsort(evaluation.scores[:, column], kind="stable")
    scores, true = evaluation.scores[order, column], evaluation.truth[order, column]
    thresholds, first = np.unique(scores, return_index=True)
    found = np.cumsum(true[::-1])[::-1]
    return [
        Figures(
            label=label,
            threshold=float(threshold),
            true_positives=int(found[i]),
            false_positives=len(scores) - int(i) - int(found[i]),
            false_negatives=int(found[0]) - int(found[i]),
        )
        for threshold, i in zip(thresholds, first, strict=True)
    ]


def confusion_matrix(evaluation: Evaluation) -> NDArray[np.int64]:
    """[true label, said label]: pictures, in the order of `evaluation.labels`; what is said is the best label.

    Raises:
        ValueError: pictures may have several labels, so that none is confused with one other.
    """
    if evaluation.multi_label:
        raise ValueError("pictures with several labels have no confusion matrix; look at each label's figures")
    matrix = np.zeros((len(evaluation.labels), len(evaluation.labels)), dtype=np.int64)
    np.add.at(matrix, (evaluation.truth.argmax(axis=1), evaluation.best), 1)
    return matrix


def worst_mistakes(evaluation: Evaluation, most: int = 10) -> list[Mistake]:
    """The pictures that the model is surest to see otherwise, the worst first: that is where wrong labels show.

    A mistake is a best label that is not the true one; its badness is the difference of the two scores. Where several
    labels are allowed: a label that is missing though its score is over a half, or there though it is under; its
    badness is the distance of the score from where it should be.
    """
    return (_multi_label_mistakes if evaluation.multi_label else _single_label_mistakes)(evaluation, most)


def _single_label_mistakes(evaluation: Evaluation, most: int) -> list[Mistake]:
    true_scores = np.where(evaluation.truth, evaluation.scores, -np.inf).max(axis=1)
    badness = evaluation.best_scores - true_scores
    right = evaluation.truth[np.arange(len(evaluation.pictures)), evaluation.best]
    return [
        Mistake(
            picture=evaluation.pictures[i],
            label=evaluation.labels[evaluation.best[i]],
            badness=float(badness[i]),
        )
        for i in np.argsort(-badness, kind="stable")
        if not right[i]
    ][:most]


def _multi_label_mistakes(evaluation: Evaluation, most: int) -> list[Mistake]:
    distances = np.abs(evaluation.truth - evaluation.scores)
    worst = distances.argmax(axis=1)
    badness = distances.max(axis=1)
    said_otherwise = ((evaluation.scores >= 0.5) != evaluation.truth).any(axis=1)  # noqa: PLR2004  # a half
    return [
        Mistake(picture=evaluation.pictures[i], label=evaluation.labels[worst[i]], badness=float(badness[i]))
        for i in np.argsort(-badness, kind="stable")
        if said_otherwise[i]
    ][:most]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _picture(raw: Any, number: int, labels: Sequence[str], *, multi_label: bool) -> EvaluatedPicture:  # noqa: ANN401
    where = f"pictures[{number}]"
    if not isinstance(raw, dict):
        raise MalformedEvaluationError(f"{where} is no object")
    fields: dict[str, Any] = raw  # pyright: ignore[reportUnknownVariableType]
    name, scores = fields.get("name"), fields.get("scores")
    true = _texts(fields.get("labels"), f"{where}.labels")
    if not isinstance(name, str) or not isinstance(scores, dict):
        raise MalformedEvaluationError(f'{where} needs a "name" and "scores"')
    raw_scores: dict[str, Any] = scores  # pyright: ignore[reportUnknownVariableType]
    if unknown := sorted({*true, *raw_scores} - set(labels)):
        raise MalformedEvaluationError(f"{where} ({name}) has {unknown[0]!r}; the labels are {', '.join(labels)}")
    if not multi_label and len(true) != 1:
        raise MalformedEvaluationError(f"{where} ({name}) has {len(true)} true labels; without multiLabel it is one")
    for label, score in raw_scores.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1 or math.isnan(score):
            raise MalformedEvaluationError(f"{where} ({name}): the score of {label!r} is {score!r}; it is from 0 to 1")
    return EvaluatedPicture(name=name, labels=true, scores={k: float(v) for k, v in raw_scores.items()})


def _texts(raw: object, where: str) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):  # pyright: ignore[reportUnknownVariableType]
        raise MalformedEvaluationError(f"{where} must be a list of texts")
    return tuple(raw)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
