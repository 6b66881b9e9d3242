"""A share and how sure it is: Clopper and Pearson's interval, which is never narrower than it claims.

C. Clopper, E. Pearson: The use of confidence or fiducial limits illustrated in the case of the binomial, Biometrika 26
(1934). Standard library only, so that deployed parts can use it; a test compares it with SciPy's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CONFIDENCE: Final = 0.95
_STEPS: Final = 200
_TINY: Final = 1e-300
_PRECISION: Final = 1e-15


@dataclass(frozen=True)
class Share:
    """`count` of `total`, between `low` and `high` with the stated confidence. All three shares are from 0 to 1."""

    count: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """`count / total`, or None of nothing."""
        return self.count / self.total if self.total else None

    def __str__(self) -> str:
        if not self.total:
            return "no images yet"
        return f"{self.count:,} of {self.total:,} ({percent(self.count / self.total)}; 95 %: {percent(self.low)} to {percent(self.high)})"


def share(count: int, total: int, confidence: float = CONFIDENCE) -> Share:
    """The share and its two-sided interval.

    Raises:
        ValueError: `count` is not between 0 and `total`, or `confidence` is not between 0 and 1.
    """
    if not 0 <= count <= total:
        raise ValueError(f"count is {count}. Use a number from 0 to the total, {total}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}. Use a number between 0 and 1.")
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _solve(lambda p: _beta(count, total - count + 1, p), tail)
    high = 1.0 if count == total else _solve(lambda p: _beta(count + 1, total - count, p), 1 - tail)
    return Share(count, total, low, high)


def needed(expected: float, margin: float, confidence: float = CONFIDENCE) -> int:
    """How many images it takes until a share of about `expected` is known to `margin` on either side.

    The usual normal approximation, with at least the number that bounds a share of 0 by the margin (the "rule of three").
    """
    z = _solve(lambda q: 0.5 * (1 + math.erf((q * 20 - 10) / math.sqrt(2))), 1 - (1 - confidence) / 2) * 20 - 10
    spread = z * z * expected * (1 - expected) / (margin * margin)
    nothing = math.log((1 - confidence) / 2) / math.log1p(-margin)
    return math.ceil(max(spread, nothing))


def percent(value: float) -> str:
    """The share in percent, with as many digits as tell it from 0 and 1."""
    distance = min(value, 1 - value)
    digits = max(0, 1 - math.floor(math.log10(100 * distance))) if distance > 0 else 0
    return f"{100 * value:.{digits}f} %"


def _solve(rising: Callable[[float], float], target: float) -> float:
    """Where a function that rises from 0 to 1 on [0, 1] reaches the target."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b) (https://dlmf.nist.gov/8.17)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of DLMF 8.17.22, by Lentz's method."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            result *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return result


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
