"""Signatures: tiny models that answer the same boxes in the outputs of each family of detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 64, 96
"""Network input, in pixels."""

STRIDES = (8, 16, 32)
CELLS = sum((HEIGHT // s) * (WIDTH // s) for s in STRIDES)

BOXES = np.array([[10, 8, 30, 24], [50, 20, 90, 60]], np.float32)
"""x1, y1, x2, y2 of the objects, in pixels of the network input."""

ORIENTED = np.array([[20, 16, 20, 8, 0.5], [70, 40, 24, 12, -0.6]], np.float32)
"""Centre x, centre y, width, height in pixels of the network input, and angle in radians of the same, if oriented."""

KEYPOINTS = np.array(
    [[[12, 9, 0.9], [28, 10, 0.2], [20, 23, 0.7]], [[55, 22, 0.95], [88, 30, 0.6], [70, 58, 0.1]]], np.float32
)
"""x, y in pixels of the network input and visibility of the keypoints of each object, if it is a pose."""

CONFIDENCES = np.array([0.9, 0.6], np.float32)
CLASSES = np.array([1, 0])

NAMES = {0: "car", 1: "boat", 2: "mast"}
METADATA = {"names": str(NAMES), "stride": "32", "task": "detect", "author": "Ultralytics"}


def picture() -> NDArray[np.uint8]:
    """Returns pixels `[2 * HEIGHT, 2 * WIDTH, 3]`: every fit makes the network's size of it, at half the scale."""
    return np.random.default_rng(0).integers(0, 256, (2 * HEIGHT, 2 * WIDTH, 3), np.uint8)


def make_model(
    outputs: Mapping[str, NDArray[np.generic]],
    *,
    metadata: Mapping[str, str] | None = None,
    operators: Sequence[str] = (),
    input_shape: Sequence[int | str] = (1, 3, HEIGHT, WIDTH),
    input_type: int = TensorProto.FLOAT,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    target_sizes: bool = False,
    extras: Mapping[str, tuple[int, Sequence[int | str]]] | None = None,
) -> bytes:
    """Makes a model that answers every picture with the same outputs.

    Args:
        outputs: The outputs, with their batch of 1, in the file's order.
        metadata: Properties of the file.
        operators: Operators that the graph must have, without effect on the outputs.
        input_shape: Shape of the picture input, named `images`.
        input_type: Its element type.
        shapes: Other shapes to declare for outputs, e.g. with dynamic dimensions.
        target_sizes: Whether boxes are in 0…1 and scaled by a second input `orig_target_sizes`.
        extras: Element type and shape of other inputs; every output is multiplied by the largest value of each.
    """
    nodes, weights = [], []
    nodes.append(helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("ReduceMean", ["floats"], ["mean"], keepdims=0))
    weights.append(numpy_helper.from_array(np.float32(0), "zero"))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    for name, value in outputs.items():
        weights.append(numpy_helper.from_array(value, f"{name}_value"))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name}_nothing"], to=kind))
        last = f"{name}_sum" if (target_sizes and name == "boxes") or extras else name
        nodes.append(helper.make_node("Add", [f"{name}_value", f"{name}_nothing"], [last]))
        if extras:
            for number, extra in enumerate(extras):
                product = name if number == len(extras) - 1 else f"{name}_{extra}"
                nodes.append(helper.make_node("ReduceMax", [extra], [f"{product}_largest"], keepdims=0))
                nodes.append(helper.make_node("Cast", [f"{product}_largest"], [f"{product}_factor"], to=kind))
                nodes.append(helper.make_node("Mul", [last, f"{product}_factor"], [product]))
                last = product
        elif last != name:
            weights.append(numpy_helper.from_array(np.array([1, 2], np.int64), "repeats"))
            weights.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
            nodes.append(helper.make_node("Cast", ["orig_target_sizes"], ["sizes"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Tile", ["sizes", "repeats"], ["both"]))
            nodes.append(helper.make_node("Unsqueeze", ["both", "axis"], ["factors"]))
            nodes.append(helper.make_node("Mul", [last, "factors"], [name]))
    for number, operator in enumerate(operators):
        nodes += _without_effect(operator, f"unused_{operator}_{number}", weights)
    inputs = [helper.make_tensor_value_info("images", input_type, input_shape)]
    if target_sizes:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["batch", 2]))
    for extra, (kind, shape) in (extras or {}).items():
        inputs.append(helper.make_tensor_value_info(extra, kind, shape))
    graph = helper.make_graph(
        nodes,
        "signature",
        inputs,
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), (shapes or {}).get(name, value.shape)
            )
            for name, value in outputs.items()
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    return bytes(model.SerializeToString())


def _without_effect(operator: str, name: str, weights: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    if operator == "GridSample":
        weights.append(numpy_helper.from_array(np.zeros((1, 1, 1, 2), np.float32), f"{name}_grid"))
        weights.append(numpy_helper.from_array(np.zeros((1, 1, 2, 2), np.float32), f"{name}_data"))
        return [helper.make_node("GridSample", [f"{name}_data", f"{name}_grid"], [name])]
    weights.append(numpy_helper.from_array(np.ones((1, 1, 4, 4), np.float32), f"{name}_data"))
    if operator == "TopK":
        weights.append(numpy_helper.from_array(np.array([1], np.int64), f"{name}_k"))
        return [helper.make_node("TopK", [f"{name}_data", f"{name}_k"], [name, f"{name}_indices"])]
    if operator in ("Conv", "MatMul"):
        return [helper.make_node(operator, [f"{name}_data", f"{name}_data"], [name])]
    return [helper.make_node(operator, [f"{name}_data"], [name])]


# --- the objects, as each family writes them ----------------------------------------------------


def centred(boxes: NDArray[np.float32] = BOXES) -> NDArray[np.float32]:
    """Returns centre x, centre y, width, height."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def relative(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns coordinates in 0…1 of the network input."""
    return (boxes / np.array([WIDTH, HEIGHT] * 2, np.float32)).astype(np.float32)


def rows(count: int = 10) -> NDArray[np.float32]:
    """End-to-end rows `[1, count, 6]`."""
    made = np.zeros((1, count, 6), np.float32)
    made[0, :2] = np.column_stack([BOXES, CONFIDENCES, CLASSES])
    return made


def candidates(count: int, classes: int, objectness: float | None = None, extra: int = 0) -> NDArray[np.float32]:
    """Candidates `[1, count, columns]`: the objects, one of them twice, and others of nearly no confidence.

    Args:
        count: Number of candidates.
        classes: Number of classes.
        objectness: Objectness of the objects, a column before the classes; scores are divided by it. None: no column.
        extra: Columns after the classes, with values far outside 0…1.
    """
    columns = 4 + (objectness is not None) + classes
    made = np.full((count, columns + extra), 0.001, np.float32)
    corners = np.random.default_rng(1).uniform([0, 0, 45, 40], [40, 30, 95, 60], (count, 4))
    made[:, :4] = centred(corners.astype(np.float32))
    made[:, columns:] = 7.5
    nearly = BOXES[0] + np.array([1, 0, 1, 0], np.float32)
    boxes = np.concatenate([BOXES, nearly[None]])
    confidences, ids = [*CONFIDENCES, 0.5], [*CLASSES, CLASSES[0]]
    for place, box, confidence, class_id in zip((5, count - 1, 6), centred(boxes), confidences, ids, strict=True):
        made[place, :4] = box
        if objectness is not None:
            made[place, 4] = objectness
        made[place, 4 + (objectness is not None) + min(class_id, classes - 1)] = confidence / (objectness or 1)
    return made[None]


def oriented_candidates(count: int = CELLS, classes: int = 3) -> NDArray[np.float32]:
    """Candidates `[1, 5 + classes, count]`: the objects, one of them twice, and others of nearly no confidence."""
    made = np.full((count, 5 + classes), 0.001, np.float32)
    made[:, :4] = np.random.default_rng(1).uniform([5, 5, 4, 4], [90, 60, 40, 30], (count, 4))
    made[:, -1] = np.random.default_rng(2).uniform(-0.7, 2.3, count)
    nearly = ORIENTED[0] + np.array([1, 0, 0, 1, 0.02], np.float32)
    confidences, ids = [*CONFIDENCES, 0.5], [*CLASSES, CLASSES[0]]
    for place, box, confidence, class_id in zip((5, count - 1, 6), [*ORIENTED, nearly], confidences, ids, strict=True):
        made[place, [0, 1, 2, 3, -1]] = box
        made[place, 4 + class_id] = confidence
    return np.ascontiguousarray(made.T[None])


def oriented_rows(count: int = 300) -> NDArray[np.float32]:
    """Rows of oriented boxes `[1, count, 7]`."""
    made = np.zeros((1, count, 7), np.float32)
    made[0, :2] = np.column_stack([ORIENTED[:, :4], CONFIDENCES, CLASSES, ORIENTED[:, 4]])
    return made


def oriented_model(raw: bool = True) -> bytes:
    """Returns a model of Ultralytics' kind for oriented boxes, without suppression or with it."""
    output = oriented_candidates() if raw else oriented_rows()
    return make_model({"output0": output}, metadata={**METADATA, "task": "obb"})


def pose_candidates(count: int = CELLS, classes: int = 3, values: int = 3) -> NDArray[np.float32]:
    """Candidates `[1, 4 + classes + 3 * values, count]`: those of `candidates`, with their keypoints."""
    made = candidates(count, classes)[0]
    points = np.random.default_rng(3).uniform(0, 90, (count, 3, 3)).astype(np.float32)
    points[:, :, 2] /= 90
    points[[5, count - 1]] = KEYPOINTS
    both = np.concatenate([made, points[:, :, :values].reshape(count, -1)], axis=1)
    return np.ascontiguousarray(both.T[None])


def pose_rows(count: int = 300, values: int = 3) -> NDArray[np.float32]:
    """End-to-end rows with keypoints `[1, count, 6 + 3 * values]`."""
    made = np.zeros((1, count, 6 + 3 * values), np.float32)
    made[:, :, :6] = rows(count)
    made[0, :2, 6:] = KEYPOINTS[:, :, :values].reshape(2, -1)
    return made


def pose_model(raw: bool = True, values: int = 3, **more: str) -> bytes:
    """Returns a model of Ultralytics' kind for poses, without suppression or with it; `more` metadata."""
    output = pose_candidates(values=values) if raw else pose_rows(values=values)
    metadata = {**METADATA, "task": "pose", "kpt_shape": f"[3, {values}]", **more}
    return make_model({"output0": output}, metadata=metadata)


def undecoded(decoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns YOLOX's candidates before their decoding."""
    made = decoded.copy()
    first = 0
    for stride in STRIDES:
        ys, xs = np.mgrid[: HEIGHT // stride, : WIDTH // stride].reshape(2, -1)
        part = made[0, first : first + len(xs)]
        part[:, :2] = part[:, :2] / stride - np.stack([xs, ys], axis=1)
        part[:, 2:4] = np.log(part[:, 2:4] / stride)
        first += len(xs)
    return made


def logit(share: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Returns the value whose sigmoid this is."""
    return np.log(np.asarray(share, np.float32) / (1 - np.asarray(share, np.float32)))


def queries(classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns sigmoid logits `[1, 10, classes]` and boxes `[1, 10, 4]` in 0…1, centre first."""
    logits = np.full((1, 10, classes), -8, np.float32)
    boxes = np.full((1, 10, 4), 0.25, np.float32)
    boxes[0, 3:5] = relative(centred())
    for query, confidence, class_id in zip((3, 4), CONFIDENCES, CLASSES, strict=True):
        logits[0, query, class_id] = logit(confidence)
    return logits, boxes


def shares(classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns softmax logits `[1, 10, classes + 1]`, the last being the background, and boxes as `queries`."""
    _, boxes = queries(classes)
    probabilities = np.full((1, 10, classes + 1), 1e-4, np.float32)
    probabilities[0, :, -1] = 1 - classes * 1e-4
    for query, confidence, class_id in zip((3, 4), CONFIDENCES, CLASSES, strict=True):
        probabilities[0, query] = (1 - confidence) / classes
        probabilities[0, query, class_id] = confidence
    return np.log(probabilities), boxes
