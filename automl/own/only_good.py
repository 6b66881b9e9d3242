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
_LEAST_IMAGES = 20
_STAGES = (4, 7, 10)
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
    held_out: NDArray[np.float64]
    """The probability of a defect of each image, by a memory without it."""


def farthest(side: int) -> int:
    """How many patches' distances make a picture's, of `side` by `side`."""
    return max(1, round(_FARTHEST_SHARE * side * side))


def add_patches(graph: Graph, size: int) -> str:
    """The input, and each patch with its neighbourhood: (patches, channels)."""
    image = graph.input(IMAGE, [1, size, size, 3], TensorProto.UINT8)
    fine, *coarse = add_backbone(graph, image, backbone_weights(), _STAGES)
    halved = graph.node("AveragePool", fine, kernel_shape=[2, 2], strides=[2, 2])
    joined = graph.node("Concat", halved, *coarse, axis=1)
    smooth = graph.node("AveragePool", joined, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0)
    flat = graph.node("Reshape", smooth, graph.whole(1, 232, -1))
    return graph.node("Reshape", graph.node("Transpose", flat, perm=[0, 2, 1]), graph.whole(-1, 232))


def learn(
    pictures: Sequence[NDArray[np.uint8]], turn: Sequence[Callable[[NDArray[np.uint8]], NDArray[np.uint8]]], size: int,
    seed: int, done: Callable[[], None],
) -> Memory:  # fmt: skip
    """A memory of good pictures, each in every turn.

    Raises:
        UnusableImagesError: there are too few.
    """
    if len(pictures) < _LEAST_IMAGES:
        raise UnusableImagesError(f"there are {len(pictures)} good images; {_LEAST_IMAGES} are needed")
    graph = Graph()
    graph.output(add_patches(graph, size), "patches", ["patches", 232])
    run = session(graph.model({}))
    seen: list[NDArray[np.float16]] = []
    for picture in pictures:
        each = [run.run(["patches"], {IMAGE: turned(picture)[None]})[0] for turned in turn]
        seen.append(np.stack([np.asarray(patches, np.float16) for patches in each]))
        done()
    every: NDArray[np.float16] = np.stack(seen)  # images, turns, patches, channels
    rng = np.random.default_rng(seed)
    scale = np.asarray(every[:, 0].astype(np.float32).std(axis=(0, 1)) + _TINY, np.float32)
    order = rng.permutation(len(pictures))
    scores, patch_distances = np.zeros(len(pictures)), np.zeros((len(pictures), every.shape[2]), np.float32)
    count = farthest(size // PATCH)
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        memory = _chosen([seen[image] for image in np.setdiff1d(order, held)], scale, rng)
        for image in held:
            distances = _distances(every[image, 0].astype(np.float32) / scale, memory)
            patch_distances[image] = distances
            scores[image] = np.sort(distances)[-count:].mean()
    threshold, median = float(np.quantile(scores, _GOOD_QUANTILE)), float(np.median(scores))
    slope = float(np.log(1 / _AT_MEDIAN - 1) / max(threshold - median, _TINY))
    return Memory(
        patches=_chosen(seen, scale, rng),
        scale=scale,
        threshold=threshold,
        slope=slope,
        usual_patch=float(np.median(patch_distances)),
        odd_patch=float(np.quantile(patch_distances, 0.995)),
        held_out=np.asarray(expit(slope * (scores - threshold)), np.float64),
    )


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
