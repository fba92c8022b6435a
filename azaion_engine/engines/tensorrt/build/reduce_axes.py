"""Reduce axes: moves the axes of reductions from an input into the attribute that TensorRT 8 reads.

Since opset 18, ReduceMax and its kin take their axes as a second input. The ONNX parser of TensorRT 8.6 reads the
attribute of earlier opsets only, and without it reduces over all axes. RT-DETR then fails at its TopK; another network
would be built wrongly.
"""

from __future__ import annotations

from typing import Any

REDUCTIONS = frozenset(
    (
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSumSquare",
    )
)
"""Operators whose axes became an input with opset 18. ReduceSum's did with opset 13, and TensorRT 8 reads them."""


def inline_reduce_axes(model: Any) -> None:
    """Gives every reduction with constant axes the attribute `axes` instead of its second input, in place.

    Reductions without that input, or with computed axes, stay as they are.

    Args:
        model: The `onnx.ModelProto`, of any opset.
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in model.graph.node:
        if node.op_type in REDUCTIONS and len(node.input) == 2 and node.input[1] in constants:
            axes = numpy_helper.to_array(constants[node.input[1]])
            if axes.size:  # no axes means all of them, or none: `noop_with_empty_axes` tells
                del node.input[1]
                node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in axes.reshape(-1)]))
