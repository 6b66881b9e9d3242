"""Shares with their intervals, held against SciPy's."""

import pytest
from scipy.stats import binomtest

from inspection.shares import needed, percent, share


@pytest.mark.parametrize(
    ("count", "total"), [(0, 1), (0, 10), (1, 26), (10, 10), (3, 100_000), (500, 1000), (999_999, 1_000_000)]
)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_interval_is_clopper_and_pearsons(count: int, total: int, confidence: float):
    expected = binomtest(count, total).proportion_ci(confidence, "exact")
    found = share(count, total, confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-7, abs=1e-12)


def test_a_share_of_nothing_can_be_anything():
    nothing = share(0, 0)
    assert (nothing.low, nothing.high, nothing.value, str(nothing)) == (0.0, 1.0, None, "no images yet")


def test_a_share_is_written_with_its_interval():
    assert str(share(1, 26)) == "1 of 26 (3.8 %; 95 %: 0.097 % to 20 %)"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.5, "50 %"), (0.00003, "0.0030 %"), (0.9997, "99.970 %")]
)
def test_percent_tells_a_share_from_nothing_and_from_all(value: float, text: str):
    assert percent(value) == text


@pytest.mark.parametrize(("count", "total", "confidence"), [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0)])
def test_what_is_not_a_share_is_refused(count: int, total: int, confidence: float):
    with pytest.raises(ValueError, match="Use a number"):
        share(count, total, confidence)


def test_as_many_as_are_needed_bound_the_share():
    assert share(0, needed(0, 0.01)).high <= 0.01
    found = share(15, needed(0.01, 0.005))
    assert found.high - 0.01 < 0.0075
