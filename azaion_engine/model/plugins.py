"""Plugins: takes TensorRT's suppression plugin out of a model, so that any runtime runs it and a head suppresses."""

from __future__ import annotations

from typing import Any

from azaion_engine.heads.base import PluginSuppression

_PLUGIN = "EfficientNMS_TRT"


def cut_plugin(model: Any) -> PluginSuppression | None:
    """Removes the node `EfficientNMS_TRT` at the end of a model, and makes its inputs the model's outputs.

    Its attributes are described in TensorRT's `plugin/efficientNMSPlugin/README.md`.

    Args:
        model: The `onnx.ModelProto`; changed in place.

    Returns:
        What the node did; None, and the model unchanged, without such a node, or if the model goes on after it, or if
        its boxes are still to be decoded with anchors.
    """
    import onnx

    graph = model.graph
    nodes = [node for node in graph.node if node.op_type == _PLUGIN]
    outputs = {value.name for value in graph.output}
    if len(nodes) != 1 or len(nodes[0].input) != 2 or not outputs <= set(nodes[0].output):
        return None
    [node] = nodes
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    boxes, scores = node.input
    graph.node.remove(node)
    del graph.output[:]
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for name in (boxes, scores):
        float32 = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, None, None])
        graph.output.append(known.get(name, float32))
    return PluginSuppression(
        boxes=boxes,
        scores=scores,
        iou=round(float(values.get("iou_threshold", 0.5)), 6),  # float32 in the file
        centred=bool(values.get("box_coding", 0)),
        sigmoid=bool(values.get("score_activation", 0)),
        background=int(values.get("background_class", -1)),
        class_agnostic=bool(values.get("class_agnostic", 0)),
    )


def without_plugin(model_bytes: bytes) -> bytes:
    """Returns an ONNX file as `cut_plugin` changes it."""
    import onnx

    model = onnx.load_model_from_string(model_bytes)
    cut_plugin(model)
    return bytes(model.SerializeToString())
