"""An ONNX graph, written node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


class Graph:
    """Nodes and the numbers they use; each is named in the order of writing, so that the same calls give the same bytes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._numbers: list[onnx.TensorProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Sequence[int | str], kind: int) -> str:
        """Declare what goes in."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Declare a value, of 32-bit numbers, as what comes out under a name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def number(self, values: NDArray[Any] | Sequence[float] | float) -> str:
        """Numbers as they are if they are an array, else 32-bit ones."""
        array = values if isinstance(values, np.ndarray) else np.asarray(values, np.float32)
        name = f"n{len(self._numbers)}"
        self._numbers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def whole(self, *values: int) -> str:
        """64-bit whole numbers: shapes and axes."""
        return self.number(np.asarray(values, np.int64))

    def node(self, operation: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:  # noqa: ANN401
        """The name of what the operation gives; several as a list."""
        names = [f"v{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operation, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def model(self, metadata: Mapping[str, str]) -> bytes:
        """The whole file.

        Raises:
            onnx.checker.ValidationError: it is not a valid graph.
        """
        graph = helper.make_graph(self._nodes, "inspection", self._inputs, self._outputs, self._numbers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="inspection"
        )
        helper.set_model_props(model, dict(sorted(metadata.items())))
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)
