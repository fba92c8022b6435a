"""Quantised models: which eight-bit format the Q/DQ nodes of a model use."""

from __future__ import annotations

from typing import Any, Literal

Quantised = Literal["int8", "fp8"]

_PAIR = ("QuantizeLinear", "DequantizeLinear")


def quantised_format(model: Any) -> Quantised | None:
    """Returns the format of a model's Q/DQ nodes; None if it has none.

    The type of the zero points tells it: an 8-bit float, else integers.

    Args:
        model: `onnx.ModelProto`.
    """
    from onnx import TensorProto

    graph = model.graph
    points = {node.input[2] for node in graph.node if node.op_type in _PAIR and len(node.input) > 2}
    if not any(node.op_type in _PAIR for node in graph.node):
        return None
    types = {weight.data_type for weight in graph.initializer if weight.name in points}
    types |= {
        attribute.t.data_type
        for node in graph.node
        if node.op_type == "Constant" and node.output[0] in points
        for attribute in node.attribute
        if attribute.name == "value"
    }
    return "fp8" if TensorProto.FLOAT8E4M3FN in types else "int8"
