"""Which set a picture belongs to: decided by its name alone, so that no other picture can ever move it.

The name's hash is a place between 0 and 1, and each set has a stretch of that line. What this gives:

- Stable: the place follows from nothing but the name. Added or deleted pictures move nobody. A larger share only
  takes pictures out of the training set, none from another.
- Stratified: every label has the same stretches, so each label gets its share by expectation, a rare one as a common one.
  It is a share by chance: of n pictures, n * share, give or take sqrt(n * share * (1 - share)). Exact shares would
  have to rank the pictures of a label, and each added one could then push another over the line.
"""

import hashlib
import unicodedata
from dataclasses import dataclass
from enum import StrEnum


class Set(StrEnum):
    """What a picture is used for."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


FOLDERS = {
    "train": Set.TRAINING,
    "training": Set.TRAINING,
    "val": Set.VALIDATION,
    "validation": Set.VALIDATION,
    "test": Set.TEST,
}
"""Folders that name the set of what is in them; in small letters, any case counts."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The shares of the validation and of the test set, each from 0 to 1; training has the rest.

    Raises:
        ValueError: nothing would be left to train on.
    """

    validation: float
    test: float

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or not self.validation + self.test < 1:
            raise ValueError(
                f"validation {self.validation:g} and test {self.test:g} are no shares: give numbers from 0 on that "
                "leave something for training, as in 0.15 and 0.1"
            )

    def set_at(self, place: float) -> Set:
        """The set of a picture at that :func:`place`."""
        if place < self.test:
            return Set.TEST
        if place >= 1 - self.validation:
            return Set.VALIDATION
        return Set.TRAINING


def place(name: str) -> float:
    """Where a name falls between 0 (included) and 1 (excluded).

    The same picture copied from a Mac, which takes umlauts apart, has the same place.
    """
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
