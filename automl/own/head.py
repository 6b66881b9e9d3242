"""From features to calibrated probabilities: a regularised linear head, chosen by cross-validation over images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from inspection.model_file import Kind

FOLDS = 5
_STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2)
"""Inverse regularisation, from stronger to weaker."""
_TINY = 1e-7

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """`features @ weights.T + bias` are the logits of the labels, calibrated."""

    weights: Numbers
    bias: Numbers
    strength: float
    temperature: Numbers
    """What logits were divided by, for each label: above 1 the head was too sure of itself."""
    held_out_logits: Numbers
    """Of each image, calibrated, by a head that did not learn from it."""
    held_out: Numbers
    """The probabilities of each image by a head that did not learn from it."""


@dataclass(frozen=True)
class Blend:
    """How a head's logits and a memory of good parts are put together: `logits * share + odd * others + bias`.

    `others` is 0 for the good label, 1 for each other.
    """

    share: float
    odd: float
    bias: float
    held_out: Numbers


def blend(logits: Numbers, odd: Numbers, truth: NDArray[np.bool_], good: int, seed: int) -> Blend:
    """Fit the three numbers on held-out images; their probabilities come from numbers that were fitted on others."""
    others = np.arange(truth.shape[1]) != good

    def mixed(numbers: Numbers, rows: Any) -> Numbers:  # noqa: ANN401 - an index
        more = numbers[1] * odd[rows, None] + numbers[2]
        return cast("Numbers", numbers[0] * logits[rows] + more * others)

    def fitted(rows: Any) -> Numbers:  # noqa: ANN401 - an index
        def loss(numbers: Numbers) -> float:
            return _loss(mixed(numbers, rows), truth[rows], Kind.SINGLE_LABEL)

        return np.asarray(minimize(loss, np.array([0.5, 0.5, 0.0]), method="Nelder-Mead").x, np.float64)

    held_out = np.zeros(truth.shape)
    for learn, held in _folds(truth, Kind.SINGLE_LABEL, seed):
        held_out[held] = probabilities(mixed(fitted(learn), held), Kind.SINGLE_LABEL)
    share, odd_weight, bias = fitted(np.arange(len(truth))).tolist()
    return Blend(share=share, odd=odd_weight, bias=bias, held_out=held_out)


def fit(features: NDArray[np.float32], truth: NDArray[np.bool_], kind: Kind, seed: int) -> Head:
    """Fit on images (images, turns, features) and their labels (images, labels).

    Every turn of an image is in the same fold; the figures are those of the image as it came, its first turn.
    """
    folds = list(_folds(truth, kind, seed))
    best: tuple[float, float, Numbers] | None = None
    for strength in _STRENGTHS:
        logits = np.zeros(truth.shape)
        for learn, held in folds:
            weights, bias = _linear(features[learn], truth[learn], kind, strength)
            logits[held] = features[held, 0] @ weights.T + bias
        # What counts is how good the probabilities can be made, so the temperature is fitted first.
        loss = _loss(logits / _temperature(logits, truth, kind), truth, kind)
        if best is None or loss < best[0]:
            best = loss, strength, logits
    assert best is not None  # noqa: S101 - for the type checker
    _, strength, logits = best
    temperature = _temperature(logits, truth, kind)
    weights, bias = _linear(features, truth, kind, strength)
    return Head(
        weights=weights / temperature[:, None],
        bias=bias / temperature,
        strength=strength,
        temperature=temperature,
        held_out_logits=logits / temperature,
        held_out=probabilities(logits / temperature, kind),
    )


def probabilities(logits: Numbers, kind: Kind) -> Numbers:
    """Of each label: together 1, or each for itself."""
    return cast("Numbers", softmax(logits, axis=1) if kind is Kind.SINGLE_LABEL else expit(logits))


def _folds(truth: NDArray[np.bool_], kind: Kind, seed: int) -> Iterator[tuple[Any, Any]]:
    if kind is Kind.SINGLE_LABEL:
        return StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(truth, truth.argmax(axis=1))
    return KFold(FOLDS, shuffle=True, random_state=seed).split(truth)


def _linear(
    features: NDArray[np.float32], truth: NDArray[np.bool_], kind: Kind, strength: float
) -> tuple[Numbers, Numbers]:
    """Weights and bias of the labels, for features as they are."""
    turns = features.shape[1]
    rows = features.reshape(-1, features.shape[2])
    mean, spread = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64) + _TINY
    scaled = ((rows - mean) / spread).astype(np.float32)
    targets = np.repeat(truth, turns, axis=0)
    # Turns of an image are hardly new images: together they weigh as one.
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    if kind is Kind.SINGLE_LABEL:
        weights, bias = _fitted(model, scaled, targets.argmax(axis=1))
        if len(weights) == 1:
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    else:
        each = [_fitted(model, scaled, targets[:, label]) for label in range(truth.shape[1])]
        weights, bias = np.concatenate([pair[0] for pair in each]), np.concatenate([pair[1] for pair in each])
    weights = weights / spread
    return weights, bias - weights @ mean


def _fitted(model: LogisticRegression, rows: NDArray[np.float32], target: NDArray[Any]) -> tuple[Numbers, Numbers]:
    model.fit(rows, target)
    return np.asarray(model.coef_, np.float64), np.atleast_1d(np.asarray(model.intercept_, np.float64))


def _temperature(logits: Numbers, truth: NDArray[np.bool_], kind: Kind) -> Numbers:
    if kind is Kind.SINGLE_LABEL:
        return np.full(truth.shape[1], _best_temperature(logits, truth, kind))
    columns = range(truth.shape[1])
    return np.array([_best_temperature(logits[:, [at]], truth[:, [at]], kind) for at in columns])


def _best_temperature(logits: Numbers, truth: NDArray[np.bool_], kind: Kind) -> float:
    def loss(power: float) -> float:
        return _loss(logits / np.exp(power), truth, kind)

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(found.x))


def _loss(logits: Numbers, truth: NDArray[np.bool_], kind: Kind) -> float:
    """Of an image and label, in nats."""
    given = np.clip(probabilities(logits, kind), _TINY, 1 - _TINY)
    if kind is Kind.SINGLE_LABEL:
        return float(-np.log(given[truth]).mean())
    return float(-np.log(np.where(truth, given, 1 - given)).mean())
