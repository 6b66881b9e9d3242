"""EfficientNet-Lite0 as a graph, its batch norms folded into the convolutions.

https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import numpy as np
from numpy.typing import NDArray

from automl.own.graph import Graph
from automl.own.weights import Weights

_EPSILON = 1e-3
_STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}
"""Of the blocks that halve the picture; the stem does so as well."""


def add_backbone(graph: Graph, picture: str, weights: Weights, stages: tuple[int, ...]) -> list[str]:
    """What the named blocks (0 to 15) give, in their order, of `picture`: bytes, NHWC."""
    x = graph.node("Transpose", graph.node("Cast", picture, to=1), perm=[0, 3, 1, 2])
    x = graph.node("Mul", graph.node("Sub", x, graph.number(127.0)), graph.number(1 / 128))
    x = _clipped(graph, _convolution(graph, x, weights, "_conv_stem", "_bn0", stride=2))
    given: list[str] = []
    for block in range(max(stages) + 1):
        before, name = x, f"_blocks.{block}"
        if block:
            x = _clipped(graph, _convolution(graph, x, weights, f"{name}._expand_conv", f"{name}._bn0"))
        stride = _STRIDES.get(block, 1)
        x = _clipped(graph, _convolution(graph, x, weights, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride))
        x = _convolution(graph, x, weights, f"{name}._project_conv", f"{name}._bn2")
        if stride == 1 and weights[f"{name}._bn2.bias"].shape == _channels_before(weights, block):
            x = graph.node("Add", x, before)
        if block in stages:
            given.append(x)
    return given


def channels(weights: Weights, block: int) -> int:
    """How many a block gives."""
    return len(weights[f"_blocks.{block}._bn2.bias"])


def _channels_before(weights: Weights, block: int) -> tuple[int, ...]:
    return weights[f"_blocks.{block - 1}._bn2.bias"].shape if block else weights["_bn0.bias"].shape


def _clipped(graph: Graph, value: str) -> str:
    return graph.node("Clip", value, graph.number(0.0), graph.number(6.0))


def _convolution(graph: Graph, value: str, weights: Weights, name: str, norm: str, stride: int = 1) -> str:
    kernel, bias = _folded(weights, name, norm)
    group = kernel.shape[0] if kernel.shape[1] == 1 and name.endswith("_depthwise_conv") else 1
    return graph.node(
        "Conv",
        value,
        graph.number(kernel),
        graph.number(bias),
        auto_pad="SAME_UPPER",
        group=group,
        strides=[stride, stride],
        kernel_shape=list(kernel.shape[2:]),
    )


def _folded(weights: Weights, name: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scale = weights[f"{norm}.weight"].astype(np.float64) / np.sqrt(
        weights[f"{norm}.running_var"].astype(np.float64) + _EPSILON
    )
    kernel = weights[f"{name}.weight"] * scale[:, None, None, None]
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return kernel.astype(np.float32), bias.astype(np.float32)
