"""Training a model of one's own: from labelled images to a model file and what it is worth."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automl.own import features as seen
from automl.own.head import Blend, blend, fit
from automl.own.images import LabelledImage, UnusableImagesError, digest
from automl.own.only_good import GOOD_LABEL, LEAST_GOOD, Memory, learn
from automl.own.reliability import expected_calibration_error
from automl.own.symmetry import TURNS, Symmetry, turned
from automl.own.writing import write_linear, write_memory
from imaging.bounded import UnusableImageError
from imaging.pixels import pixels
from imaging.prepare import prepare
from inspection.model_file import MAX_FILE_BYTES, Kind, ModelCard

SIZES = range(128, 513, 32)
SURE = 0.8
"""The threshold that a stack has until somebody chooses another."""

_NORMALISATION = "in the graph: (byte - 127) / 128"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be chosen."""

    size: int
    symmetry: Symmetry
    seed: int
    multi_label: bool = False


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model file, and what it said about images that it had not learned from."""

    file: bytes
    card: ModelCard
    held_out: NDArray[np.float64]
    """Probabilities (images, labels)."""
    truth: NDArray[np.bool_]


def today() -> date:
    """The day that a file trained now bears; `SOURCE_DATE_EPOCH` sets it (https://reproducible-builds.org/docs/source-date-epoch/)."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return (datetime.fromtimestamp(int(given), UTC) if given.isdigit() else datetime.now(UTC)).date()


def read_images(
    images: Sequence[LabelledImage], left_out: Callable[[str], None], done: Callable[[], None]
) -> tuple[list[bytes], list[tuple[str, ...]]]:
    """The images as the line would show them to the model, with their labels; each distinct image once.

    Raises:
        UnusableImagesError: the same image has different labels.
    """
    known: dict[bytes, tuple[str, tuple[str, ...]]] = {}
    for image in images:
        try:
            jpeg = prepare(image.read())
        except UnusableImageError as error:
            left_out(f"{image.name}: {error}")
            continue
        finally:
            done()
        name, labels = known.setdefault(jpeg, (image.name, image.labels))
        if set(labels) != set(image.labels):
            raise UnusableImagesError(
                f"{name} and {image.name} are the same image, but one is {', '.join(labels)} and the other "
                f"{', '.join(image.labels)}: put right which is wrong"
            )
    return list(known), [labels for _, labels in known.values()]


def train(
    jpegs: Sequence[bytes],
    labels: Sequence[tuple[str, ...]],
    options: Options,
    cache: Path,
    done: Callable[[], None],
) -> Trained:
    """Learn to tell the labels apart. What was worked out for an image is kept in `cache`, and taken from there.

    Raises:
        UnusableImagesError: there is one label alone, or an image has several and that is not meant.
    """
    names = sorted({label for given in labels for label in given})
    if len(names) == 1 and not options.multi_label:
        raise UnusableImagesError(f"there is only the label {names[0]}: --only-good learns from good parts alone")
    if not options.multi_label and (several := [given for given in labels if len(given) > 1]):
        raise UnusableImagesError(f"{len(several):,} images have several labels: say --multi-label if that is meant")
    truth = np.array([[name in given for name in names] for given in labels])
    rows = _features(jpegs, options, cache, done)
    kind = Kind.MULTI_LABEL if options.multi_label else Kind.SINGLE_LABEL
    head = fit(rows, truth, kind, options.seed)
    blended = _blended(jpegs, truth, head.held_out_logits, names, options)
    held_out = blended[1].held_out if blended else head.held_out
    card = ModelCard(
        labels=tuple(names),
        kind=kind,
        size=options.size,
        heat_map_side=options.size // seen.PER_CELL,
        normalisation=_NORMALISATION,
        calibration=(
            f"{blended[1].share:.3f} of the head, {blended[1].odd:.3f} of the memory, {blended[1].bias:+.3f}"
            if blended
            else f"temperature {', '.join(f'{value:.3f}' for value in head.temperature)}"
        )
        + ", fitted on held-out images",
        trained_on=today(),
        dataset=digest(jpegs, labels),
        figures=_figures(held_out, truth) | {"strength": head.strength},
    )
    file = write_linear(card, head, rows.mean(axis=(0, 1)), blended)
    return _checked(Trained(file=file, card=card, held_out=held_out, truth=truth))


def _blended(
    jpegs: Sequence[bytes], truth: NDArray[np.bool_], logits: NDArray[np.float64], names: list[str], options: Options
) -> tuple[Memory, Blend, int] | None:
    """A memory of the good images beside the head, which sees what no defect before looked like; None without any."""
    if options.multi_label or GOOD_LABEL not in names or truth[:, names.index(GOOD_LABEL)].sum() < LEAST_GOOD:
        return None
    good = names.index(GOOD_LABEL)
    is_good = truth[:, good]
    pictures = [pixels(jpeg, options.size) for jpeg in jpegs]
    memory = learn(
        [picture for picture, ok in zip(pictures, is_good, strict=True) if ok],
        [picture for picture, ok in zip(pictures, is_good, strict=True) if not ok],
        _turns(options),
        options.size,
        options.seed,
        lambda: None,
    )
    odd = np.zeros(len(jpegs))
    odd[is_good], odd[~is_good] = memory.logits, memory.of_others
    return memory, blend(logits, odd, truth, good, options.seed), good


def _turns(options: Options) -> list[Callable[[NDArray[np.uint8]], NDArray[np.uint8]]]:
    return [partial(turned, turn=turn) for turn in TURNS[options.symmetry]]


def train_only_good(jpegs: Sequence[bytes], options: Options, done: Callable[[], None], other_label: str) -> Trained:
    """Learn what good parts look like; whatever looks different is given `other_label`.

    Raises:
        UnusableImagesError: there are too few images.
    """
    pictures = [pixels(jpeg, options.size) for jpeg in jpegs]
    memory = learn(pictures, [], _turns(options), options.size, options.seed, done)
    names = sorted((GOOD_LABEL, other_label))
    card = ModelCard(
        labels=tuple(names),
        kind=Kind.SINGLE_LABEL,
        size=options.size,
        heat_map_side=options.size // seen.PER_CELL,
        normalisation=_NORMALISATION,
        calibration="half at the distance that 5 % of the held-out good images exceed",
        trained_on=today(),
        dataset=digest(jpegs, [(GOOD_LABEL,)] * len(jpegs)),
        figures={"images": len(jpegs), "good taken for good": float((memory.held_out < 0.5).mean())},  # noqa: PLR2004
    )
    bad = names.index(other_label)
    held_out = np.stack([memory.held_out if at == bad else 1 - memory.held_out for at in range(2)], axis=1)
    truth = np.array([[at != bad for at in range(2)]] * len(held_out))
    return _checked(Trained(file=write_memory(card, memory, bad), card=card, held_out=held_out, truth=truth))


def _checked(trained: Trained) -> Trained:
    if len(trained.file) > MAX_FILE_BYTES:
        raise UnusableImagesError(f"the model would have {len(trained.file):,} bytes; allowed are {MAX_FILE_BYTES:,}")
    return trained


def _features(jpegs: Sequence[bytes], options: Options, cache: Path, done: Callable[[], None]) -> NDArray[np.float32]:
    """(images, turns, features)."""
    extract = seen.Extractor(options.size)
    cache.mkdir(parents=True, exist_ok=True)
    turns = TURNS[options.symmetry]
    rows: list[NDArray[np.float32]] = []
    for jpeg in jpegs:
        key = f"{hashlib.sha256(jpeg).hexdigest()}-{options.size}-{options.symmetry}-{seen.VERSION}.npy"
        kept: NDArray[np.float32] | None = None
        with suppress(OSError, ValueError, EOFError):
            kept = np.load(cache / key, allow_pickle=False)
        if kept is None or len(kept) != len(turns):
            picture = pixels(jpeg, options.size)
            kept = np.stack([extract(turned(picture, turn)) for turn in turns])
            _write_at_once(cache / key, kept)
        rows.append(kept)
        done()
    return np.stack(rows)


def _write_at_once(path: Path, values: NDArray[np.float32]) -> None:
    """So that who is interrupted leaves a whole file or none."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        np.save(file, values, allow_pickle=False)
    Path(temporary).replace(path)


def _figures(held_out: NDArray[np.float64], truth: NDArray[np.bool_]) -> dict[str, float]:
    """Of held-out images; shares from 0 to 1. With several labels an answer is one label of one image."""
    several = bool((truth.sum(axis=1) != 1).any())
    right = (held_out > 0.5) == truth if several else truth[np.arange(len(truth)), held_out.argmax(axis=1)]  # noqa: PLR2004
    sure = np.maximum(held_out, 1 - held_out) >= SURE if several else held_out.max(axis=1) >= SURE
    return {
        "images": float(len(truth)),
        "right": float(right.mean()),
        f"right of those sure at {SURE}": float(right[sure].mean()) if sure.any() else 0.0,
        f"unsure at {SURE}": float(1 - sure.mean()),
        "expected calibration error": expected_calibration_error(held_out, truth),
    }
