"""Pairs of QuantizeLinear and DequantizeLinear: carried from the model that ModelOpt wrote into the exporter's own.

ModelOpt writes opset 19 or later and drops the metadata (names, imgsz, head); TensorRT 8.6 reads opsets up to 17. With
the pairs alone, everything else in the file stays as the exporter wrote it.
"""

from __future__ import annotations

from typing import Any

from azaion_engine.engines.tensorrt.build.mixed_precision import sort_nodes
from azaion_engine.errors import ModelError

_QUANTISE, _DEQUANTISE = "QuantizeLinear", "DequantizeLinear"


def carry_pairs(quantised: Any, model: Any) -> int:
    """Puts the pairs of a quantised model into the model that it was made from.

    A dequantised tensor without QuantizeLinear before it is left out: that is a bias, which TensorRT 8.6 wants in
    floating point.

    Args:
        quantised: `onnx.ModelProto` with pairs.
        model: `onnx.ModelProto` with nodes of the same names, opset 13 or later; changed in place.

    Returns:
        Number of pairs.

    Raises:
        ModelError: A pair stands at a node that the model does not have.
    """
    from onnx import helper

    graph = model.graph
    made_by = {output: node for node in quantised.graph.node for output in node.output}
    constants = _constants(quantised.graph)
    ours = {node.name: node for node in graph.node}
    taken = {weight.name for weight in graph.initializer}
    pairs: dict[tuple[str, str], str] = {}
    for theirs in quantised.graph.node:
        if theirs.op_type in (_QUANTISE, _DEQUANTISE):
            continue
        for position, name in enumerate(theirs.input):
            back = made_by.get(name)
            there = made_by.get(back.input[0]) if back is not None and back.op_type == _DEQUANTISE else None
            if there is None or there.op_type != _QUANTISE:
                continue
            node = ours.get(theirs.name)
            if node is None or node.op_type != theirs.op_type or position >= len(node.input):
                raise ModelError(f"ModelOpt quantised a node that the model does not have: {theirs.name!r}")
            source = node.input[position]
            key = (source, there.output[0])
            if key not in pairs:
                stem = f"{source}__{len(pairs)}"
                tensors = []
                for part, given in zip(("scale", "zero_point"), there.input[1:], strict=False):
                    tensor = constants[given]
                    copied = type(tensor)()
                    copied.CopyFrom(tensor)
                    copied.name = f"{stem}/{part}"
                    if copied.name not in taken:
                        graph.initializer.append(copied)
                    tensors.append(copied.name)
                axis = {a.name: helper.get_attribute_value(a) for a in there.attribute if a.name == "axis"}
                narrow, wide = f"{stem}/quantised", f"{stem}/dequantised"
                graph.node.append(helper.make_node(_QUANTISE, [source, *tensors], [narrow], f"{stem}/Q", **axis))
                graph.node.append(helper.make_node(_DEQUANTISE, [narrow, *tensors], [wide], f"{stem}/DQ", **axis))
                pairs[key] = wide
            node.input[position] = pairs[key]
    sort_nodes(graph)
    return len(pairs)


def _constants(graph: Any) -> dict[str, Any]:
    """Returns the tensors of initialisers and Constant nodes by name."""
    found = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = attribute.t
    return found
