"""How good a model of one's own is, how long it takes, and how large it is: on sample castings that it never saw.

240 castings to learn from and 660 others. `python -m tests.benchmarks.own_model`
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from automl.own.features import session
from automl.own.reliability import expected_calibration_error
from automl.own.symmetry import Symmetry
from automl.own.training import SURE, Options, Trained, train, train_only_good
from imaging.pixels import pixels
from inspection.model_file import HEAT_MAP, IMAGE, MAX_FILE_BYTES, PROBABILITIES
from local.demo.samples import DEFECT, OK, Sample, samples

SEED = 7
"""Of castings on which nothing was chosen: sizes and stages were tried on others."""

LEARN, OTHERS = 240, 660
OPTIONS = Options(size=384, symmetry=Symmetry.ROTATE, seed=0)


@dataclass(frozen=True)
class Asked:
    """What a model said about every other casting."""

    probabilities: NDArray[np.float64]
    seconds: float
    """For an image, from its JPEG to its heat map, on one thread as in the function."""
    processor_seconds: float


def ask(trained: Trained, others: list[Sample]) -> Asked:
    """Ask about each, one after the other."""
    loaded = session(trained.file, 1)
    given: list[NDArray[np.float64]] = []
    wall, processor = time.perf_counter(), time.process_time()
    for sample in others:
        answer, _ = loaded.run([PROBABILITIES, HEAT_MAP], {IMAGE: pixels(sample.jpeg, trained.card.size)[None]})
        given.append(np.asarray(answer, np.float64)[0])
    count = len(others)
    return Asked(np.stack(given), (time.perf_counter() - wall) / count, (time.process_time() - processor) / count)


def main() -> None:
    """Print a line for each target."""
    learn, others = list(samples(LEARN, seed=SEED)), list(samples(OTHERS, seed=SEED, first=LEARN + 1))
    truth = np.array([sample.label == DEFECT for sample in others])
    table = Table(
        "on two cores",
        "target",
        "measured",
        title=f"A model of one's own: {LEARN} castings learned from, {OTHERS} others",
    )

    def line(what: str, target: str, measured: str, *, reached: bool) -> None:
        table.add_row(what, target, measured if reached else f"{measured} (missed)")

    def costs(name: str, trained: Trained, asked: Asked, wall: float, processor: float) -> None:
        line(f"{name}: training", "< 90 s", f"{wall:.0f} s ({processor:.0f} s of processor)", reached=wall < 90)
        line(
            f"{name}: an image",
            "<= 60 ms",
            f"{1000 * asked.seconds:.0f} ms ({1000 * asked.processor_seconds:.0f} of processor)",
            reached=asked.seconds <= 0.06,
        )
        size = len(trained.file)
        line(f"{name}: file", "<= 20 MB", f"{size / 1e6:.1f} MB", reached=size <= MAX_FILE_BYTES)

    with tempfile.TemporaryDirectory() as cache:
        wall, processor = time.perf_counter(), time.process_time()
        trained = train(
            [each.jpeg for each in learn], [(each.label,) for each in learn], OPTIONS, Path(cache), lambda: None
        )
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    asked = ask(trained, others)
    defect = trained.card.labels.index(DEFECT)
    right = (asked.probabilities.argmax(axis=1) == defect) == truth
    sure = asked.probabilities.max(axis=1) >= SURE
    error = expected_calibration_error(asked.probabilities, np.stack([truth, ~truth], axis=1))
    line("right", ">= 90 %", f"{right.mean():.1%}", reached=right.mean() >= 0.9)
    line(f"right of those sure at {SURE}", ">= 97 %", f"{right[sure].mean():.1%}", reached=right[sure].mean() >= 0.97)
    line(f"unsure at {SURE}", "<= 33.3 %", f"{1 - sure.mean():.1%}", reached=1 - sure.mean() <= 1 / 3)
    line("expected calibration error", "", f"{error:.3f}", reached=True)
    costs("castings", trained, asked, wall, processor)

    wall, processor = time.perf_counter(), time.process_time()
    good = train_only_good([each.jpeg for each in learn if each.label == OK], OPTIONS, lambda: None, DEFECT)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    asked = ask(good, others)
    area = float(roc_auc_score(truth, asked.probabilities[:, good.card.labels.index(DEFECT)]))
    line("only good: AUROC", ">= 0.95", f"{area:.4f}", reached=area >= 0.95)
    costs("only good", good, asked, wall, processor)
    Console().print(table)


if __name__ == "__main__":
    main()
