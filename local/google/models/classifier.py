"""A small classifier that is really trained, on CPU, in seconds; its scores are meant as probabilities."""

import hashlib
import os
import platform
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
from numpy.typing import NDArray

from imaging import prepare
from local.demo import samples
from local.google.models.features import features

MIN_PICTURES_A_LABEL = 3
"""Fewer cannot be split into a part to learn from and a part to calibrate on."""

_FOLDS = 5
_TREES = 100
_LEAF = 4
_READY_PICTURES = 400
_READY_SEED = 20_261
"""Of the pictures that the ready model learns from; no other place makes pictures from this seed."""
_THREADS = 2
_ASKING = threading.Lock()
"""scikit-learn changes the process's warning filters while it predicts; threads at the same time would see them half-way."""

Progress = Callable[[int, int], None]
"""Called with how many pictures are done, and how many there are."""


@dataclass(frozen=True)
class TrainedModel:
    """A classifier that gives every picture exactly one of its labels. Many threads may ask it at once."""

    labels: tuple[str, ...]
    classifier: Any
    """scikit-learn's."""

    def scores(self, picture: bytes) -> dict[str, float]:
        """Each label with the probability that it is right; together 1, best first.

        Raises:
            UnreadablePictureError: the bytes are no picture.
        """
        row = features(picture)[None, :]
        with _ASKING:
            probabilities = self.classifier.predict_proba(row)[0].tolist()
        pairs = zip(self.labels, probabilities, strict=True)
        return dict(sorted(pairs, key=lambda pair: pair[1], reverse=True))

    def save(self, file: Path) -> None:
        """Write the model; a file of this name is replaced in one step."""
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, suffix=".partial")
        try:
            with os.fdopen(descriptor, "wb") as target:
                joblib.dump((self.labels, self.classifier), target, compress=3)
            Path(temporary).replace(file)
        finally:
            Path(temporary).unlink(missing_ok=True)

    @classmethod
    def load(cls, file: Path) -> "TrainedModel":
        """Read a model that :meth:`save` wrote. Never give it a file from elsewhere: reading one runs code."""
        labels, classifier = joblib.load(file)
        return cls(labels, classifier)


@dataclass(frozen=True)
class MultiLabelModel:
    """A classifier for each label by itself: a picture may have several, or none."""

    labels: tuple[str, ...]
    classifiers: tuple[Any, ...]
    """scikit-learn's, one for each label."""

    def scores(self, picture: bytes) -> dict[str, float]:
        """Each label with the probability that the picture has it, best first; together they are anything.

        Raises:
            UnreadablePictureError: the bytes are no picture.
        """
        row = features(picture)[None, :]
        with _ASKING:
            pairs = [
                (label, float(classifier.predict_proba(row)[0, 1]))
                for label, classifier in zip(self.labels, self.classifiers, strict=True)
            ]
        return dict(sorted(pairs, key=lambda pair: pair[1], reverse=True))


class Model(Protocol):
    """What can be asked about a picture."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that it can give."""
        ...

    def scores(self, picture: bytes) -> dict[str, float]:
        """Each label with its score from 0 to 1, best first; UnreadablePictureError if the bytes are no picture."""
        ...


def train(pictures: Iterable[tuple[bytes, str]], *, progress: Progress = lambda _done, _count: None) -> TrainedModel:
    """Learn from pictures and their labels; the same pictures give the same model.

    Raises:
        UnreadablePictureError: bytes that are no picture.
        ValueError: fewer than two labels, or a label with fewer than :data:`MIN_PICTURES_A_LABEL` pictures.
    """
    pairs = list(pictures)
    counts = Counter(label for _, label in pairs)
    if len(counts) < 2:  # noqa: PLR2004
        raise ValueError(f"a model tells labels apart: two or more are needed, the pictures have {sorted(counts)}")
    _refuse_scarce(counts)
    rows = _rows([picture for picture, _ in pairs], progress)
    return TrainedModel(
        tuple(sorted(counts)), _fitted(rows, [label for _, label in pairs])
    )  # sorted as scikit-learn does


def train_multi_label(
    pictures: Iterable[tuple[bytes, Collection[str]]], *, progress: Progress = lambda _done, _count: None
) -> MultiLabelModel:
    """Learn, for each label by itself, which pictures have it; the same pictures give the same model.

    Raises:
        UnreadablePictureError: bytes that are no picture.
        ValueError: no label, or one that fewer than :data:`MIN_PICTURES_A_LABEL` pictures have or lack.
    """
    pairs = list(pictures)
    having = Counter(label for _, labels in pairs for label in set(labels))
    if not having:
        raise ValueError("no picture has a label")
    _refuse_scarce(having)
    if common := sorted(label for label, count in having.items() if len(pairs) - count < MIN_PICTURES_A_LABEL):
        raise ValueError(f"{', '.join(common)}: {MIN_PICTURES_A_LABEL} pictures or more must be without the label")
    rows = _rows([picture for picture, _ in pairs], progress)
    names = tuple(sorted(having))
    return MultiLabelModel(names, tuple(_fitted(rows, [label in labels for _, labels in pairs]) for label in names))


def _refuse_scarce(counts: Counter[str]) -> None:
    scarce = sorted(label for label, count in counts.items() if count < MIN_PICTURES_A_LABEL)
    if scarce:
        raise ValueError(f"{', '.join(scarce)}: each label needs {MIN_PICTURES_A_LABEL} pictures or more")


def _rows(pictures: Sequence[bytes], progress: Progress) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    workers = ThreadPoolExecutor(_THREADS)
    try:
        for row in workers.map(features, pictures):
            rows.append(row)
            progress(len(rows), len(pictures))
    finally:
        # `progress` may raise to stop the training.
        workers.shutdown(cancel_futures=True)
    return np.stack(rows)


def _fitted(rows: NDArray[np.float32], answers: Sequence[Any]) -> Any:  # noqa: ANN401  # scikit-learn's
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import ExtraTreesClassifier

    trees = ExtraTreesClassifier(
        _TREES,
        min_samples_leaf=_LEAF,
        max_features=0.3,  # pyright: ignore[reportArgumentType]  # inferred from the default, which is text
        random_state=0,
    )
    # Votes of trees are no probabilities: how far to trust them is learned on pictures that the trees did not see. One
    # temperature for all labels needs few pictures.
    calibrated = CalibratedClassifierCV(
        trees,
        method="temperature",
        cv=min(_FOLDS, *Counter(answers).values()),
        ensemble=False,  # pyright: ignore[reportArgumentType]
    )
    calibrated.fit(rows, answers)
    return calibrated


def ready_model(
    cache_folder: Path, *, pictures: int = _READY_PICTURES, progress: Progress = lambda _done, _count: None
) -> TrainedModel:
    """The model for sample pictures, labels `ok` and `defect`: trained on first need, then read from the cache.

    Whatever decides the result decides the file's name, so that a change trains anew.
    """
    file = cache_folder / f"castings-{_recipe(pictures)}.joblib"
    if file.exists():
        return TrainedModel.load(file)
    made = samples.samples(pictures, seed=_READY_SEED)
    model = train(((sample.jpeg, sample.label) for sample in made), progress=progress)
    model.save(file)
    return model


def _recipe(pictures: int) -> str:
    recipe = hashlib.sha256()
    for source in (
        Path(samples.__file__),
        Path(__file__),
        Path(__file__).with_name("features.py"),
        Path(prepare.__file__),
    ):
        recipe.update(source.read_bytes())
    for package in ("scikit-learn", "numpy", "scipy", "pillow"):
        recipe.update(f"{package}=={version(package)}\n".encode())
    recipe.update(f"{platform.python_version()} {platform.machine()} {pictures}".encode())
    return recipe.hexdigest()[:16]
