"""Trains a model on the images of a dataset, and measures it."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from local.google.models.classifier import Model, train, train_multi_label
from local.google.models.figures import Figures, figures
from local.google.models.imports import LEAST_PICTURES, DataSet, Example, ReadObject, Set
from local.google.models.jobs import Job
from local.google.rpc import RefusedError

_AUTOMATIC_SHARES = ((0.8, "training"), (0.9, "validation"))


@dataclass(frozen=True, kw_only=True)
class Made:
    """A trained model."""

    name: str
    display_name: str
    data_set: str
    multi_label: bool
    budget_milli_node_hours: int
    model_type: str
    created: datetime
    model: Model
    figures: tuple[Figures, ...]


def train_on(
    job: Job,
    data_set: DataSet,
    sets: Mapping[Set, Sequence[Example]],
    read_object: ReadObject,
    *,
    name: str,
    display_name: str,
    budget: int,
    model_type: str,
) -> Made:
    """Train a model on the sets, and measure it on the test set.

    Raises:
        RefusedError: an image is missing, or the images cannot be learned from.
        JobCancelledError: the job was cancelled.
    """
    # The validation set's part is taken by cross-validation, in which each picture is validated with once.
    learned_from = [*sets[Set.TRAINING], *sets[Set.VALIDATION]]
    tested = sets[Set.TEST]
    count = len(learned_from) + len(tested)
    try:
        if data_set.multi_label:
            model: Model = train_multi_label(
                ((read_object(each.uri), each.labels) for each in learned_from),
                progress=lambda done, _: job.progress(done, count),
            )
        else:
            model = train(
                ((read_object(each.uri), each.labels[0]) for each in learned_from),
                progress=lambda done, _: job.progress(done, count),
            )
        scores: list[dict[str, float]] = []
        for example in tested:
            scores.append(model.scores(read_object(example.uri)))
            job.progress(len(learned_from) + len(scores), count)
    except (ValueError, LookupError) as error:
        raise RefusedError("INVALID_ARGUMENT", f"Training failed: {error}.") from error
    return Made(
        name=name,
        display_name=display_name,
        data_set=data_set.name,
        multi_label=data_set.multi_label,
        budget_milli_node_hours=budget,
        model_type=model_type,
        created=datetime.now(UTC),
        model=model,
        figures=figures(model.labels, tested, scores, multi_label=data_set.multi_label),
    )


def check_counts(sets: Mapping[Set, Sequence[Example]]) -> None:
    """Refuse a label that has too few images."""
    counts = Counter(label for examples in sets.values() for example in examples for label in example.labels)
    if scarce := sorted(label for label, count in counts.items() if count < LEAST_PICTURES):
        counted = ", ".join(f"{label} has {counts[label]}" for label in scarce)
        raise RefusedError(
            "FAILED_PRECONDITION", f"Each label needs at least {LEAST_PICTURES} images to train: {counted}."
        )


def assigned_sets(data_set: DataSet, predefined: Mapping[Set, bool] | None) -> dict[Set, list[Example]]:
    """The dataset's examples by the set that each belongs to; see :meth:`Workshop.start_training` for `predefined`."""
    sets: dict[Set, list[Example]] = {used_for: [] for used_for in Set}
    for uri in sorted(data_set.examples):
        example = data_set.examples[uri]
        if predefined is None:
            sets[example.used_for or _assigned(uri)].append(example)
        elif example.used_for and predefined[example.used_for]:
            sets[example.used_for].append(example)
    return sets


def _assigned(uri: str) -> Set:
    place = int.from_bytes(hashlib.sha256(uri.encode()).digest()[:8]) / 2**64
    return next((Set(used_for) for bound, used_for in _AUTOMATIC_SHARES if place < bound), Set.TEST)
