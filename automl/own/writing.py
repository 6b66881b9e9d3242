"""The model file of a linear head: everything from the picture's bytes to probabilities and heat maps is in the graph."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automl.own.features import PER_CELL, STAGES, Stage, add_stages, backbone_weights, joined
from automl.own.graph import Graph
from automl.own.head import Blend, Head
from automl.own.only_good import BLOCKS, PATCH, Memory, add_patches, farthest, patches_of
from inspection.model_file import HEAT_MAP, PROBABILITIES, Kind, ModelCard

_TINY = 1e-6
_LEAST_EVIDENCE = 0.3
"""Of a cell, in logits: below it even the strongest cell of a picture stays pale."""


def write_linear(
    card: ModelCard, head: Head, usual: NDArray[np.float32], blended: tuple[Memory, Blend, int] | None
) -> bytes:
    """The file's bytes: the same for the same arguments.

    Args:
        card: what stands in its metadata.
        head: its weights stand for the features of :mod:`automl.own.features`.
        usual: the mean features of the images that it learned from: heat is what departs from them.
        blended: a memory of good parts, its share, and which label is the good one.
    """
    graph = Graph()
    stages = add_stages(graph, card.size, backbone_weights())
    weights = head.weights.astype(np.float32)
    logits = graph.node(
        "Gemm", joined(graph, stages), graph.number(weights), graph.number(head.bias.astype(np.float32)), transB=1
    )
    heat = _heat(graph, card, stages, weights, usual)
    if blended is not None:
        memory, blend, good = blended
        others = (np.arange(len(card.labels)) != good).astype(np.float32)
        maps = [stage.map for stage, block in zip(stages, STAGES, strict=True) if block in BLOCKS]
        odd, cells = _oddness(graph, patches_of(graph, maps), memory, card.size)
        more = graph.node("Add", graph.node("Mul", odd, graph.number(blend.odd)), graph.number(blend.bias))
        logits = graph.node("Mul", logits, graph.number(blend.share))
        logits = graph.node("Add", logits, graph.node("Mul", more, graph.number(others.reshape(1, -1))))
        column = others.reshape(1, -1, 1, 1)
        heat = graph.node("Mul", heat, graph.number(1 - column / 2))
        heat = graph.node("Add", heat, graph.node("Mul", cells, graph.number(column / 2)))
    single = card.kind is Kind.SINGLE_LABEL
    given = graph.node("Softmax", logits, axis=1) if single else graph.node("Sigmoid", logits)
    graph.output(given, PROBABILITIES, [1, len(card.labels)])
    graph.output(heat, HEAT_MAP, [1, len(card.labels), *[card.heat_map_side] * 2])
    return graph.model(card.to_metadata())


def _heat(
    graph: Graph, card: ModelCard, stages: Sequence[Stage], weights: NDArray[np.float32], usual: NDArray[np.float32]
) -> str:
    """What each cell adds to the logit of each label, as a share of what the strongest cell adds.

    Exact for the means and the extremes, each of which is a mean over some places; the spread is left out.
    """
    parts: list[str] = []
    begin = 0
    for stage in stages:
        count = stage.count
        of_mean, _, of_top, of_bottom = (weights[:, begin + n * count : begin + (n + 1) * count] for n in range(4))
        usual_mean, _, usual_top, usual_bottom = (usual[begin + n * count : begin + (n + 1) * count] for n in range(4))
        begin += 4 * count
        places = stage.side * stage.side
        top = graph.node("Cast", graph.node("GreaterOrEqual", stage.flat, stage.least_of_top), to=1)
        bottom = graph.node("Cast", graph.node("LessOrEqual", stage.flat, stage.most_of_bottom), to=1)
        for mask, weight, level, share in (
            (None, of_mean, usual_mean, places),
            (top, of_top, usual_top, stage.extremes),
            (bottom, of_bottom, usual_bottom, stage.extremes),
        ):
            away = graph.node("Sub", stage.flat, graph.number(np.ascontiguousarray(level.reshape(1, count, 1))))
            if mask is not None:
                away = graph.node("Mul", away, mask)
            evidence = graph.node("MatMul", graph.number(np.ascontiguousarray(weight / share)), away)
            square = graph.node("Reshape", evidence, graph.whole(1, len(card.labels), stage.side, stage.side))
            cell = PER_CELL * stage.side // card.size
            pooled = graph.node("AveragePool", square, kernel_shape=[cell, cell], strides=[cell, cell])
            parts.append(graph.node("Mul", pooled, graph.number(float(cell * cell))))
    heat = graph.node("Relu", graph.node("Sum", *parts))
    strongest = graph.node("Max", graph.node("ReduceMax", heat, axes=[2, 3]), graph.number(_LEAST_EVIDENCE))
    return graph.node("Div", heat, strongest)


def write_memory(card: ModelCard, memory: Memory, bad: int) -> bytes:
    """The file's bytes for a memory of good parts; `bad` is which of the two labels whatever looks different gets."""
    graph = Graph()
    logit, cells = _oddness(graph, add_patches(graph, card.size), memory, card.size)
    defect = graph.node("Reshape", graph.node("Sigmoid", logit), graph.whole(1, 1))
    good = graph.node("Sub", graph.number(1.0), defect)
    graph.output(graph.node("Concat", *((good, defect) if bad else (defect, good)), axis=1), PROBABILITIES, [1, 2])
    graph.output(graph.node("Concat", cells, cells, axis=1), HEAT_MAP, [1, 2, *[card.heat_map_side] * 2])
    return graph.model(card.to_metadata())


def _oddness(graph: Graph, patches: str, memory: Memory, size: int) -> tuple[str, str]:
    """The logit of a defect, one number, and where the odd patches are: (1, 1, rows, columns)."""
    side = size // PATCH
    rows = graph.node("Div", patches, graph.number(memory.scale))
    products = graph.node("MatMul", rows, graph.number(np.ascontiguousarray(-2 * memory.patches.T)))
    to_nearest = graph.node(
        "ReduceMin", graph.node("Add", products, graph.number((memory.patches**2).sum(axis=1))), axes=[1]
    )
    own = graph.node("ReduceSum", graph.node("Mul", rows, rows), graph.whole(1))
    distances = graph.node("Sqrt", graph.node("Relu", graph.node("Add", to_nearest, own)))
    far, _ = graph.node("TopK", distances, graph.whole(farthest(side * side)), outputs=2, axis=0, largest=1)
    score = graph.node("ReduceMean", far, axes=[0])
    logit = graph.node("Mul", graph.node("Sub", score, graph.number(memory.threshold)), graph.number(memory.slope))
    # Half where a patch is as odd as 1 in 200 of good parts.
    square = graph.node("Reshape", distances, graph.whole(1, 1, side, side))
    odd = graph.node("Relu", graph.node("Sub", square, graph.number(memory.usual_patch)))
    share = graph.node("Mul", odd, graph.number(0.5 / max(memory.odd_patch - memory.usual_patch, _TINY)))
    # Where the oddest patch is beyond the scale, all are taken down: the oddest place is to stand out.
    heat = graph.node("Div", share, graph.node("Max", graph.node("ReduceMax", share, axes=[2, 3]), graph.number(1.0)))
    return logit, graph.node("MaxPool", heat, kernel_shape=[2, 2], strides=[2, 2])
