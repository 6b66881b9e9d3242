"""How good a model is on its test set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from local.google.models.imports import Example

CONFIDENCES: Final = tuple(round(step / 20, 2) for step in range(20))
"""Thresholds at which an evaluation tells its figures."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How good a model is on its test set; for one label, or for all together."""

    label: str | None
    pictures: int
    au_prc: float
    log_loss: float
    at: tuple[tuple[float, float, float, float], ...]
    """(confidence threshold, recall, precision, F1), each threshold of :data:`CONFIDENCES`."""
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """[true label][said label], in the order of `labels`; empty with several labels a picture."""


def figures(
    labels: tuple[str, ...], tested: Sequence[Example], scores: Sequence[Mapping[str, float]], *, multi_label: bool
) -> tuple[Figures, ...]:
    """The figures for all labels together, then for each label; empty without a test set."""
    """For all together, then for each label; none without a test set."""
    if not tested:
        return ()
    truth = np.array([[label in example.labels for label in labels] for example in tested])
    said = np.array([[each[label] for label in labels] for each in scores])
    whole = _label_figures(None, truth.ravel(), said.ravel(), len(tested))
    if not multi_label:
        matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
        np.add.at(matrix, (truth.argmax(axis=1), said.argmax(axis=1)), 1)
        whole = replace(whole, labels=labels, confusion=tuple(tuple(row) for row in matrix.tolist()))
    return (
        whole,
        *(_label_figures(label, truth[:, i], said[:, i], len(tested)) for i, label in enumerate(labels)),
    )


def _label_figures(label: str | None, true: Any, scores: Any, pictures: int) -> Figures:  # noqa: ANN401  # arrays
    from sklearn.metrics import average_precision_score, log_loss

    at: list[tuple[float, float, float, float]] = []
    for threshold in CONFIDENCES:
        said = scores >= threshold
        right = int((said & true).sum())
        precision = right / max(1, int(said.sum()))
        recall = right / max(1, int(true.sum()))
        at.append((threshold, recall, precision, 2 * precision * recall / max(precision + recall, 1e-12)))
    return Figures(
        label=label,
        pictures=pictures,
        au_prc=float(average_precision_score(true, scores)) if true.any() else 0.0,
        log_loss=float(log_loss(true, scores, labels=[False, True])),
        at=tuple(at),
    )
