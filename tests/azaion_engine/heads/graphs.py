"""Tiny ONNX networks that answer every picture with given outputs, under the names and shapes of any exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def network(
    outputs: Mapping[str, NDArray[Any]],
    size: tuple[int, int] = (64, 64),
    metadata: Mapping[str, str] | None = None,
    *,
    batch: int | str = "batch",
    open_shapes: bool = False,
    operators: Sequence[str] = (),
    channels_last: bool = False,
    dtype: int = TensorProto.FLOAT,
) -> bytes:
    """Returns an ONNX file whose outputs do not depend on the picture.

    Args:
        outputs: Name → one picture's output, without the batch.
        size: (height, width) of the input, in pixels.
        metadata: The file's `metadata_props`.
        batch: Batch of the input.
        open_shapes: Whether the outputs' dimensions are left open in the file.
        operators: Further unary operators in the graph, whose results nobody reads.
        channels_last: Whether the input is `[batch, height, width, 3]`.
        dtype: Element type of the input.
    """
    shape = [batch, *size, 3] if channels_last else [batch, 3, *size]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Sub", ["means", "means"], ["zeros"]),
        *(helper.make_node(operator, ["zeros"], [f"unread{i}"]) for i, operator in enumerate(operators)),
    ]
    weights, values = [], []
    for name, value in outputs.items():
        weights += [
            numpy_helper.from_array(value[None].astype(np.float32), f"{name}_values"),
            numpy_helper.from_array(np.array([-1, *[1] * value.ndim], np.int64), f"{name}_shape"),
        ]
        nodes += [
            helper.make_node("Reshape", ["zeros", f"{name}_shape"], [f"{name}_zeros"]),
            helper.make_node("Add", [f"{name}_values", f"{name}_zeros"], [name]),
        ]
        dims: list[Any] = [f"{name}_{i}" for i in range(value.ndim)] if open_shapes else list(value.shape)
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *dims]))
    graph = helper.make_graph(nodes, "tiny", [helper.make_tensor_value_info("images", dtype, shape)], values, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def anchors_of(size: tuple[int, int]) -> int:
    """Places of strides 8, 16 and 32."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))


def raw_values(columns: int, anchors: int, boxes: Mapping[int, Sequence[float]]) -> NDArray[np.float32]:
    """Returns `[columns, anchors]`: zeros but for the values of some anchors."""
    values = np.zeros((columns, anchors), np.float32)
    for anchor, column in boxes.items():
        values[: len(column), anchor] = column
    return values
