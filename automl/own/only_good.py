"""Learning from good parts alone: a memory of how their patches look, and how far a picture's patches are from it.

After "Towards Total Recall in Industrial Anomaly Detection" (https://arxiv.org/abs/2106.08265), with three middle stages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from scipy.special import expit

from automl.own.backbone import add_backbone
from automl.own.features import backbone_weights, session
from automl.own.graph import Graph
from automl.own.images import UnusableImagesError
from inspection.model_file import IMAGE

GOOD_LABEL = "ok"

PATCH = 16
"""Pixels of each side of a patch."""

FOLDS = 4
LEAST_GOOD = 20
BLOCKS = (4, 7, 10)
"""Of the backbone; the first gives twice as many rows as the others."""
_MEMORY = 2000
"""Patches that are remembered: 2 MB of the file."""
_CANDIDATES = 40_000
"""Patches among which the remembered ones are chosen."""
_PROJECTED = 24
_FARTHEST_SHARE = 0.01
"""Of the patches of a picture: the mean of their distances is the picture's."""
_GOOD_QUANTILE = 0.95
_AT_MEDIAN = 0.1
"""The probability of a defect that the middle one of the held-out good images gets."""
_TINY = 1e-6

Patches = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What was learned."""

    patches: Patches
    """(remembered, channels), divided by `scale`."""
    scale: NDArray[np.float32]
    """Spread of each channel."""
    threshold: float
    """The distance that a picture is as probably good as not."""
    slope: float
    usual_patch: float
    odd_patch: float
    """Distances of a patch in the middle of the good ones, and of their farthest 1 in 200."""
    logits: NDArray[np.float64]
    """Of a defect, of each image by a memory without it."""
    of_others: NDArray[np.float64]
    """The same of the other pictures."""

    @property
    def held_out(self) -> NDArray[np.float64]:
        """The probability of a defect of each image."""
        return np.asarray(expit(self.logits), np.float64)


def farthest(patches: int) -> int:
    """How many of a picture's patches make its distance."""
    return max(1, round(_FARTHEST_SHARE * patches))


def add_patches(graph: Graph, size: int) -> str:
    """The input, and each patch with its neighbourhood: (patches, channels)."""
    image = graph.input(IMAGE, [1, size, size, 3], TensorProto.UINT8)
    return patches_of(graph, add_backbone(graph, image, backbone_weights(), BLOCKS))


def patches_of(graph: Graph, maps: Sequence[str]) -> str:
    """:func:`add_patches` of what :data:`BLOCKS` gave."""
    fine, *coarse = maps
    halved = graph.node("AveragePool", fine, kernel_shape=[2, 2], strides=[2, 2])
    joined = graph.node("Concat", halved, *coarse, axis=1)
    smooth = graph.node("AveragePool", joined, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0)
    flat = graph.node("Reshape", smooth, graph.whole(1, 232, -1))
    return graph.node("Reshape", graph.node("Transpose", flat, perm=[0, 2, 1]), graph.whole(-1, 232))


def learn(
    pictures: Sequence[NDArray[np.uint8]],
    others: Sequence[NDArray[np.uint8]],
    turn: Sequence[Callable[[NDArray[np.uint8]], NDArray[np.uint8]]],
    size: int,
    seed: int,
    done: Callable[[], None],
) -> Memory:
    """A memory of good pictures, each in every turn; the others are not remembered, only compared.

    Raises:
        UnusableImagesError: there are too few good ones.
    """
    if len(pictures) < LEAST_GOOD:
        raise UnusableImagesError(f"there are {len(pictures)} good images; {LEAST_GOOD} are needed")
    graph = Graph()
    graph.output(add_patches(graph, size), "patches", ["patches", 232])
    run = session(graph.model({}))

    def patches(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        (found,) = run.run(["patches"], {IMAGE: picture[None]})
        return np.asarray(found, np.float32)

    seen: list[NDArray[np.float16]] = []
    for picture in pictures:
        seen.append(np.stack([patches(turned(picture)).astype(np.float16) for turned in turn]))
        done()
    rng = np.random.default_rng(seed)
    upright = np.stack([each[0] for each in seen]).astype(np.float32)
    scale = np.asarray(upright.std(axis=(0, 1)) + _TINY, np.float32)
    order = rng.permutation(len(pictures))
    scores, distances = np.zeros(len(pictures)), np.zeros(upright.shape[:2], np.float32)
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        memory = _chosen([seen[image] for image in np.setdiff1d(order, held)], scale, rng)
        for image in held:
            distances[image] = _distances(upright[image] / scale, memory)
            scores[image] = _score(distances[image])
    threshold, median = float(np.quantile(scores, _GOOD_QUANTILE)), float(np.median(scores))
    slope = float(np.log(1 / _AT_MEDIAN - 1) / max(threshold - median, _TINY))
    remembered = _chosen(seen, scale, rng)
    of_others: list[float] = []
    for picture in others:
        of_others.append(_score(_distances(patches(picture) / scale, remembered)))
        done()
    return Memory(
        patches=remembered,
        scale=scale,
        threshold=threshold,
        slope=slope,
        usual_patch=float(np.median(distances)),
        odd_patch=float(np.quantile(distances, 0.995)),
        logits=slope * (scores - threshold),
        of_others=slope * (np.asarray(of_others, np.float64) - threshold),
    )


def _score(distances: NDArray[np.float32]) -> float:
    return float(np.sort(distances)[-farthest(len(distances)) :].mean())


def _chosen(patches: Sequence[NDArray[np.float16]], scale: NDArray[np.float32], rng: np.random.Generator) -> Patches:
    """Those that cover all others best: each next one is the farthest from all before (in a random projection)."""
    flat = np.concatenate(patches).reshape(-1, patches[0].shape[-1])
    picked = rng.choice(len(flat), min(_CANDIDATES, len(flat)), replace=False)
    rows = flat[picked].astype(np.float32) / scale
    small = rows @ rng.standard_normal((rows.shape[1], _PROJECTED)).astype(np.float32)
    nearest = np.full(len(small), np.inf, np.float32)
    chosen = [0]
    for _ in range(min(_MEMORY, len(small)) - 1):
        np.minimum(nearest, ((small - small[chosen[-1]]) ** 2).sum(axis=1), out=nearest)
        chosen.append(int(nearest.argmax()))
    return rows[chosen]


def _distances(patches: Patches, memory: Patches) -> NDArray[np.float32]:
    """Of each patch to the nearest remembered one."""
    squares = (patches**2).sum(axis=1)[:, None] + (memory**2).sum(axis=1)[None] - 2 * patches @ memory.T
    return np.sqrt(np.maximum(squares.min(axis=1), 0))
