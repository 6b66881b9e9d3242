"""Whether probabilities are true: of the answers given with 0.9, nine in ten should be right."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BINS = 10


def reliability(held_out: NDArray[np.float64], truth: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """For each bin with answers: the mean probability said, the share that was true, and how many there are."""
    said, true = held_out.ravel(), truth.ravel()
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    return [
        (float(said[bins == at].mean()), float(true[bins == at].mean()), int((bins == at).sum()))
        for at in range(BINS)
        if (bins == at).any()
    ]


def expected_calibration_error(held_out: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The mean distance between what was said and what was true, over all answers."""
    rows = reliability(held_out, truth)
    return sum(count * abs(said - true) for said, true, count in rows) / sum(count for _, _, count in rows)


def write_plot(held_out: NDArray[np.float64], truth: NDArray[np.bool_], path: Path) -> None:
    """Said against true, as an SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib.figure import Figure

    rows = reliability(held_out, truth)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as it should be")
    axes.plot([said for said, _, _ in rows], [true for _, true, _ in rows], marker="o", label="held-out images")
    for said, true, count in rows:
        axes.annotate(f"{count:,}", (said, true), textcoords="offset points", xytext=(6, -10), fontsize=8)
    axes.set(xlabel="probability said", ylabel="share that was true", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"Expected calibration error {expected_calibration_error(held_out, truth):.3f}")
    axes.legend(loc="upper left")
    figure.savefig(path, format="svg")
