"""What a model of one's own sees in a picture: for each channel of several stages its mean, spread, and extremes.

The extremes are the means of the highest and of the lowest 2 % of the places: a defect is small, and would drown in a
mean over the whole picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from automl.own.backbone import add_backbone, channels
from automl.own.graph import Graph
from automl.own.weights import FILE, PACKAGE, SHA256, Weights, read_checked
from inspection.model_file import IMAGE

STAGES = (2, 4, 7, 10)
STRIDES = (4, 8, 16, 16)
PER_CELL = 32
"""Pixels of each side of a heat map's cell."""

VERSION = "1"
"""Of what is kept of a picture: another one is not taken for this."""

_EXTREME_SHARE = 0.02
_TINY = 1e-6


@dataclass(frozen=True)
class Stage:
    """The names of a stage's values in the graph, each (1, channels, places) or (1, channels, 1)."""

    map: str
    """(1, channels, rows, columns)."""
    flat: str
    mean: str
    spread: str
    top: str
    least_of_top: str
    bottom: str
    most_of_bottom: str
    count: int
    side: int
    extremes: int
    """Places that an extreme is the mean of."""

    @property
    def statistics(self) -> list[str]:
        """In the order in which they stand among the features."""
        return [self.mean, self.spread, self.top, self.bottom]


def backbone_weights() -> Weights:
    """From their package.

    Raises:
        UnexpectedWeightsError: the package holds something else.
    """
    return read_checked((files(PACKAGE) / FILE).read_bytes(), SHA256)


def add_stages(graph: Graph, size: int, weights: Weights) -> list[Stage]:
    """The input, the backbone and the statistics of each stage."""
    image = graph.input(IMAGE, [1, size, size, 3], TensorProto.UINT8)
    found: list[Stage] = []
    for value, block, stride in zip(add_backbone(graph, image, weights, STAGES), STAGES, STRIDES, strict=True):
        count, side = channels(weights, block), size // stride
        extremes = max(1, round(_EXTREME_SHARE * side * side))
        flat = graph.node("Reshape", value, graph.whole(1, count, side * side))
        mean = graph.node("ReduceMean", flat, axes=[2])
        away = graph.node("Sub", flat, mean)
        variance = graph.node("ReduceMean", graph.node("Mul", away, away), axes=[2])
        top, _ = graph.node("TopK", flat, graph.whole(extremes), outputs=2, axis=2, largest=1)
        bottom, _ = graph.node("TopK", flat, graph.whole(extremes), outputs=2, axis=2, largest=0)
        found.append(
            Stage(
                map=value,
                flat=flat,
                mean=mean,
                spread=graph.node("Sqrt", graph.node("Add", variance, graph.number(_TINY))),
                top=graph.node("ReduceMean", top, axes=[2]),
                least_of_top=graph.node("ReduceMin", top, axes=[2]),
                bottom=graph.node("ReduceMean", bottom, axes=[2]),
                most_of_bottom=graph.node("ReduceMax", bottom, axes=[2]),
                count=count,
                side=side,
                extremes=extremes,
            )
        )
    return found


def joined(graph: Graph, stages: Sequence[Stage]) -> str:
    """All statistics of all stages in a row: (1, features)."""
    values = graph.node("Concat", *(value for stage in stages for value in stage.statistics), axis=1)
    return graph.node("Reshape", values, graph.whole(1, -1))


def session(model: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """On this machine's cores; 0: on all of them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Extractor:
    """Makes the features of pictures."""

    def __init__(self, size: int) -> None:
        """Pictures are squares of `size` pixels."""
        graph = Graph()
        graph.output(joined(graph, add_stages(graph, size, backbone_weights())), "features", [1, "features"])
        self._session = session(graph.model({}))

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of a picture (size, size, 3)."""
        (features,) = self._session.run(["features"], {IMAGE: picture[None]})
        return np.asarray(features, np.float32)[0]
