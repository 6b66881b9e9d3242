"""The decision: which folder an image goes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from inspection.labels import UNCLEAR


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From which score on an answer counts as sure.

    `common` holds for every label that `by_label` does not name. Scores and thresholds are between 0 and 1.
    """

    labels: tuple[str, ...]
    common: float
    by_label: Mapping[str, float] = field(default_factory=dict[str, float])

    def for_label(self, label: str) -> float:
        """The threshold that a score of this label has to reach."""
        return self.by_label.get(label, self.common)


def folder_for(label: str, score: float, thresholds: Thresholds) -> str:
    """The folder for an image whose best label is `label`: the label itself, or `unclear`.

    A label that the stack does not know is never sure: a person decides.
    """
    sure = label in thresholds.labels and score >= thresholds.for_label(label)
    return label if sure else UNCLEAR
