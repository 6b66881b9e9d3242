"""The decision: which folder an image goes to."""

import struct
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
    sure = label in thresholds.labels and as_score(score) >= as_score(thresholds.for_label(label))
    return label if sure else UNCLEAR


def as_score(number: float) -> float:
    """The number as a model would say it: the nearest of 32 bits.

    Models answer in 32 bits, where 0.7 is 0.699999988 and arrives as 0.69999999. A threshold is written in decimals. Both
    are compared in 32 bits, so that an equal score reaches its threshold.
    """
    return struct.unpack("f", struct.pack("f", number))[0]
