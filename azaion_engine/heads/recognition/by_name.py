"""Readings by metadata and by the names of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from azaion_engine.heads.base import TensorInfo
from azaion_engine.heads.detr import Detr
from azaion_engine.heads.named_outputs import NamedOutputs, PluginBoxes, ScoredBoxes
from azaion_engine.heads.recognition.by_shape import read_rtdetr
from azaion_engine.heads.recognition.evidence import Evidence
from azaion_engine.heads.recognition.reading import ANTIALIASED, IMAGENET, RF_DETR, STRETCHED, Reading


def read_ultralytics_rtdetr(evidence: Evidence) -> list[Reading]:
    """Ultralytics' RT-DETR, by the metadata's `head`, or by its operators in older files."""
    decoder = evidence.metadata.get("head")
    about = evidence.metadata.get("description", "").lower()
    # Files from before the key `head`: no other head of Ultralytics samples a grid.
    older = evidence.of_ultralytics and ("GridSample" in evidence.operators or "rtdetr" in about.replace("-", ""))
    if decoder != "RTDETRDecoder" and not (decoder is None and older):
        return []
    return [reading for tensor in evidence.tensors for reading in read_rtdetr(evidence, tensor)]


def read_target_sizes(evidence: Evidence) -> list[Reading]:
    """RT-DETRv2, D-FINE and DEIM of their authors, by the second input."""
    if not evidence.signature.extras or not evidence.has_all("labels", "boxes", "scores"):
        return []
    head = NamedOutputs("boxes", "scores", "labels", class_offset=evidence.settings.class_offset)
    return [Reading(head, "RT-DETRv2, D-FINE or DEIM with `orig_target_sizes`", ANTIALIASED, assumes=True)]


def read_efficient_nms(evidence: Evidence) -> list[Reading]:
    """TensorRT's EfficientNMS: taken out of the model, or followed by other nodes."""
    family = "YOLO with TensorRT's EfficientNMS"
    if plugin := evidence.signature.suppression:
        boxes = PluginBoxes(plugin, False, evidence.settings.class_offset)
        pixels = Reading(boxes, family, certain=False, assumes=not evidence.of_yolo)
        return [pixels, replace(pixels, head=replace(boxes, relative=True))]
    names = ("det_boxes", "det_scores", "det_classes", "num_dets")
    if not evidence.has_all(*names):
        return []
    head = NamedOutputs(*names, class_offset=evidence.settings.class_offset)
    readings = [Reading(head, family, certain=False, assumes=True)]
    return [*readings, replace(readings[0], head=replace(head, relative=True))]


def read_tensorflow(evidence: Evidence) -> list[Reading]:
    """TensorFlow's detection API, by the names `detection_…`."""
    if not evidence.has_all("detection_boxes", "detection_scores", "detection_classes"):
        return []
    count = "num_detections" if "num_detections" in evidence.outputs else ""
    names = ("detection_boxes", "detection_scores", "detection_classes", count)
    head = NamedOutputs(*names, order="yxyx", relative=True, class_offset=evidence.settings.class_offset)
    first = Reading(head, "TensorFlow's detection API", STRETCHED, certain=False, missing=("input",))
    return [first, replace(first, head=replace(head, relative=False))]


def read_detr(evidence: Evidence) -> list[Reading]:
    """DETR and its kin, by the names of logits and boxes."""
    for logits, boxes in (("logits", "pred_boxes"), ("pred_logits", "pred_boxes"), ("labels", "dets")):
        if not evidence.has_all(logits, boxes) or len(evidence.outputs[logits].shape) != 3:
            continue
        if evidence.outputs[boxes].shape[-1] not in (4, -1):
            continue
        head = detr_head(evidence, logits, boxes)
        if boxes == "dets":
            # Its losses are sigmoid focal ones; whether there is a class too many, nothing in the file tells.
            reading = Reading(replace(head, softmax=False), "RF-DETR", RF_DETR, assumes=True, missing=("background",))
        elif _is_deformable(evidence):
            # Deformable attention samples by GridSample; all that select queries by TopK and see by convolutions
            # (RT-DETR, RT-DETRv2, D-FINE) have sigmoids and take 0..1.
            reading = Reading(head, "RT-DETR or D-FINE of transformers", ANTIALIASED, assumes=True)
        else:
            reading = Reading(head, "DETR", IMAGENET, assumes=True, missing=("background",))
        return [reading]
    return []


def detr_head(evidence: Evidence, logits: str, boxes: str) -> Detr:
    """Returns the head of two outputs, with the user's background class."""
    background = evidence.settings.background or "none"
    return Detr(logits, boxes, background != "none", background, evidence.settings.class_offset)


def _is_deformable(evidence: Evidence) -> bool:
    count = evidence.operators.get
    return bool(count("GridSample", 0) and count("TopK", 0) and 2 * count("Conv", 0) >= count("MatMul", 0))


# --- boxes, scores and classes apart ------------------------------------------------------------


def read_apart(evidence: Evidence) -> list[Reading]:
    """mmdeploy, torchvision, YOLO-NAS and others, by what is alike in their names and shapes."""
    outputs = evidence.signature.outputs
    boxes = [t for t in outputs if len(t.shape) in (2, 3) and t.shape[-1] in (4, 5)]
    if len(boxes) != 1:
        return []
    box = boxes[0]
    rank = len(box.shape) - 1
    rest = [t for t in outputs if t is not box and len(t.shape) == rank]
    counts = [t for t in outputs if t is not box and ("num" in t.name.lower() or "count" in t.name.lower())]
    rest = [t for t in rest if t not in counts]
    classes = _named(rest, "label", "class", "cls") or [t for t in rest if t.dtype.startswith("int")]
    scores = [t for t in _named(rest, "score", "conf", "prob") or rest if t not in classes]
    if len(classes) != 1 or (box.shape[-1] == 4) != (len(scores) == 1):
        return []
    head = NamedOutputs(
        box.name,
        scores[0].name if scores else "",
        classes[0].name,
        counts[0].name if counts and rank == 2 else "",
        batched=rank == 2,
        class_offset=evidence.settings.class_offset,
    )
    family = "boxes, scores and classes apart, as mmdeploy and torchvision give them"
    first = Reading(head, family, STRETCHED, certain=False, missing=("input",))
    return [first, replace(first, head=replace(head, relative=True))]


def read_scored(evidence: Evidence) -> list[Reading]:
    """SSD and others: decoded boxes, and a score for each class."""
    boxes = [t for t in evidence.tensors if t.shape[2] == 4]
    scores = [t for t in evidence.tensors if t.shape[2] != 4] if len(boxes) == 1 else []
    if len(boxes) == 2:  # four classes
        scores = _named(boxes, "score", "conf", "prob", "class")
        boxes = [t for t in boxes if t not in scores]
    if len(boxes) != 1 or len(scores) != 1 or not _agree(boxes[0].shape[1], scores[0].shape[1]):
        return []
    head = ScoredBoxes(
        boxes[0].name,
        scores[0].name,
        False,
        evidence.settings.background or "none",
        evidence.settings.class_offset,
    )
    family = "boxes with a score for each class, as SSD gives them"
    first = Reading(head, family, STRETCHED, certain=False, missing=("background", "input"))
    return [first, replace(first, head=replace(head, relative=True))]


def _named(tensors: Sequence[TensorInfo], *words: str) -> list[TensorInfo]:
    return [t for t in tensors if any(word in t.name.lower() for word in words)]


def _agree(one: int, other: int) -> bool:
    return one == other or -1 in (one, other)
