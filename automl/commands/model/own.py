"""`inspection model train --backend own`: a model file, trained on this machine."""

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from automl.own.images import LEAST_IMAGES, LabelledImage, UnusableImagesError, labelled_images
from automl.own.only_good import GOOD_LABEL
from automl.own.reliability import write_plot
from automl.own.training import SIZES, Options, Trained, read_images, train, train_only_good
from console.progress import counting

CACHE = Path(".inspection") / "features"
"""In the folder where the command runs: what was worked out for an image is found again, also after an interruption."""

OTHER_LABEL = "defect"


def train_own(sources: Sequence[str], out: Path, options: Options, *, only_good: bool) -> None:
    """Train, write the file and a plot of its reliability beside it, and say what it is worth.

    Raises:
        UnusableImagesError: there is too little to learn from.
        typer.BadParameter: something is missing, or cannot be.
    """
    if not sources:
        raise typer.BadParameter(
            "give a folder with one sub-folder for each label, or an import file", param_hint="SOURCE"
        )
    if out.suffix != ".onnx":
        raise typer.BadParameter(f"{str(out)!r} does not end in .onnx", param_hint="--out")
    if options.size not in SIZES:
        raise typer.BadParameter(
            f"{options.size}; allowed are multiples of {SIZES.step} from {SIZES.start} to {SIZES[-1]}",
            param_hint="--size",
        )
    if only_good and options.multi_label:
        raise typer.BadParameter("--only-good knows good parts and others, so no image has several labels")
    errors = Console(stderr=True)

    def left_out(line: str) -> None:
        errors.print(f"Left out: {line}", markup=False, highlight=False, soft_wrap=True)

    images = labelled_images(sources, left_out)
    if only_good:
        images = _good(images)
    with counting("Reading images", len(images)) as done:
        jpegs, labels = read_images(images, left_out, done)
    with counting("Learning from images", len(jpegs)) as done:
        if only_good:
            trained = train_only_good(jpegs, options, done, OTHER_LABEL)
        else:
            trained = train(jpegs, labels, options, CACHE, done)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(trained.file)
    plot = out.with_suffix(".svg")
    write_plot(trained.held_out, trained.truth, plot)
    _tell(trained, out, plot)


def _good(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    good = [image for image in images if image.labels == (GOOD_LABEL,)]
    if len(good) < LEAST_IMAGES:
        raise UnusableImagesError(
            f"there are {len(good)} images with the label {GOOD_LABEL!r}: --only-good learns from these alone"
        )
    return good


def _tell(trained: Trained, out: Path, plot: Path) -> None:
    table = Table("on images held out in training", "")
    table.columns[1].justify = "right"
    for name, value in trained.card.figures.items():
        table.add_row(name, f"{value:,.4g}")
    console = Console()
    console.print(table)
    console.print(
        f"Model: {out} ({len(trained.file):,} bytes; {', '.join(trained.card.labels)})\nReliability: {plot}\n"
        f"Upload it to the stack's models bucket (gcloud storage cp {out} gs://BUCKET/models/{out.name}), and set\n"
        f"modelId: gs://BUCKET/models/{out.name}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
