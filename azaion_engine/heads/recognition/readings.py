"""Readings: what a model's outputs can be, from the user's key `head`, metadata, names and shapes."""

from __future__ import annotations

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import DYNAMIC, TensorInfo
from azaion_engine.heads.end_to_end import EndToEnd
from azaion_engine.heads.recognition import by_name, by_shape
from azaion_engine.heads.recognition.evidence import Evidence
from azaion_engine.heads.recognition.reading import BGR_255, IMAGENET, Reading
from azaion_engine.heads.recognition.unread import is_part
from azaion_engine.heads.yolo import ObjectnessYolo
from azaion_engine.heads.yolox import UndecodedYolox, Yolox

_BY_NAME = (
    by_name.read_ultralytics_rtdetr,
    by_name.read_target_sizes,
    by_name.read_efficient_nms,
    by_name.read_tensorflow,
)


def read_signature(evidence: Evidence) -> list[Reading]:
    """Returns the possible readings of a model, the likeliest first; empty if none is known.

    Raises:
        ModelError: The model is for another task.
    """
    evidence.require_detection()
    if evidence.settings.head:
        return _of_key(evidence, evidence.settings.head)
    if evidence.task == "obb":
        return [reading for tensor in evidence.tensors for reading in by_shape.read_oriented(evidence, tensor)]
    for find in (*_BY_NAME, by_name.read_detr, by_name.read_apart, by_name.read_scored):
        if found := find(evidence):
            return found
    found = [
        reading
        for tensor in evidence.tensors
        for reading in by_shape.read_tensor(evidence, tensor)
        if isinstance(reading.head, EndToEnd) or not is_part(evidence, tensor)
        if not (reading.head.selective and _is_auxiliary(evidence, tensor))
    ]
    found = found or by_shape.read_flat(evidence)
    unknown = [tensor.name for tensor in evidence.signature.outputs if not tensor.shape]
    return found or [Reading(EndToEnd(name), "an output of unknown shape", certain=False) for name in unknown]


def _is_auxiliary(evidence: Evidence, tensor: TensorInfo) -> bool:
    """Whether another output of the same shape follows: YOLOv9's branches for training come before its own.

    Source: WongKinYiu/yolov9, `models/yolo.py`, `DualDDetect` and `TripleDDetect`, and `detect_dual.py`, which takes
    the last.
    """
    later = evidence.tensors[evidence.tensors.index(tensor) + 1 :]
    return any(other.shape == tensor.shape for other in later)


# --- by the user's key --------------------------------------------------------------------------


def _of_key(evidence: Evidence, key: str) -> list[Reading]:
    found: list[Reading] = []
    if key == "detr":
        found = by_name.read_detr(evidence) or _detr_of_any_name(evidence)
    elif key == "named_outputs":
        for find in (*_BY_NAME[1:], by_name.read_apart):
            found = found or find(evidence)
    elif key == "scored_boxes":
        found = by_name.read_scored(evidence)
    else:
        found = [reading for tensor in evidence.tensors for reading in _of_single(evidence, tensor, key)]
        if key == "end_to_end":
            found = found or by_shape.read_flat(evidence)
    if not found:
        raise ModelError(f"head: {key} needs other outputs than {evidence.outputs_in_words()}")
    return found


def _detr_of_any_name(evidence: Evidence) -> list[Reading]:
    boxes = [t for t in evidence.tensors if t.shape[2] == 4]
    logits = [t for t in evidence.tensors if t not in boxes]
    if len(boxes) != 1 or len(logits) != 1:
        return []
    head = by_name.detr_head(evidence, logits[0].name, boxes[0].name)
    return [Reading(head, "DETR", IMAGENET, certain=False, assumes=True, missing=("background",))]


def _of_single(evidence: Evidence, tensor: TensorInfo, key: str) -> list[Reading]:
    """The head that the user named, on one output `[batch, p, q]`."""
    _, p, q = tensor.shape
    name, offset = tensor.name, evidence.settings.class_offset
    if key == "rtdetr":
        return by_shape.read_rtdetr(evidence, tensor)
    if key == "oriented_rows":
        return by_shape.read_oriented_rows(evidence, tensor) if q in (7, DYNAMIC) else []
    if key == "oriented":
        return by_shape.read_oriented_raw(evidence, tensor)
    if q < 0 or (p < 0 and key != "end_to_end"):
        return [Reading(EndToEnd(name), "an output of open shape", certain=False)]
    if key == "end_to_end":  # seven columns are an oriented box's
        is_rows = q == 6 or (q > 7 and (evidence.settings.task == "detect" or evidence.keypoints is not None))
        return by_shape.read_rows(evidence, tensor) if is_rows else []
    if key == "yolo":
        last = q >= p
        if (p if last else q) <= 4:
            return []
        return by_shape.of_codings(evidence, by_shape.read_raw_yolo(evidence, tensor, last))
    if q < 6:
        return []
    classes = by_shape.count_classes(evidence, tensor, q - 5)
    if key == "yolov5":
        return by_shape.of_codings(evidence, Reading(ObjectnessYolo(name, classes, offset), "YOLOv5 or YOLOv7"))
    if key == "yolox":
        return [Reading(Yolox(name, classes, offset), "YOLOX, decoded", BGR_255, assumes=True)]
    levels = evidence.anchors.get(p, (8, 16, 32))
    return [Reading(UndecodedYolox(name, classes, offset, strides=levels), "YOLOX, undecoded", BGR_255, assumes=True)]
