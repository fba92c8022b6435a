"""Readings: what a model's outputs can be, from the user's key `head`, metadata, names and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import Head, TensorInfo
from azaion_engine.heads.detr import Detr, UltralyticsRtDetr
from azaion_engine.heads.end_to_end import EndToEnd
from azaion_engine.heads.evidence import Evidence
from azaion_engine.heads.named_outputs import NamedOutputs, PluginBoxes, ScoredBoxes
from azaion_engine.heads.yolo import ObjectnessYolo, RawYolo, Yolov6
from azaion_engine.heads.yolox import UndecodedYolox, Yolox
from azaion_engine.pictures.input_form import DEFAULT_FORM, IMAGENET_MEAN, IMAGENET_STD, InputForm

STRETCHED = InputForm(fit="stretch")
ANTIALIASED = InputForm(fit="stretch", resampling="antialiased")  # torchvision's Resize, in all these repositories
_RF_DETR = InputForm(mean=IMAGENET_MEAN, std=IMAGENET_STD, fit="stretch", resampling="antialiased")
IMAGENET = InputForm(mean=IMAGENET_MEAN, std=IMAGENET_STD, fit="stretch")
BGR_255 = InputForm(colour="bgr", scale=1.0, fit="top_left")

_KEYS = {
    "input": "`input` (colour: rgb or bgr; scale: 1/255 or 1; mean; std; fit: letterbox, top_left or stretch), "
    "e.g. `input: {colour: bgr, scale: 1}`; `input: {colour: rgb}` for RGB 0..1 in a letterbox",
    "background": "`background` (none: a sigmoid for each class; last or first: that class is the background, and "
    "`logits` are a softmax)",
}


@dataclass(frozen=True)
class Reading:
    """One meaning that a model's outputs can have.

    Attributes:
        head: Makes rows of them.
        family: What it is, for people.
        form: How pictures are prepared, as the family's always are.
        certain: Whether no run of a picture is needed if this is the only reading; and whether it is right among
            others, if a run does not contradict it.
        assumes: Whether `form` is the family's habit, and nothing in the file says so.
        missing: Keys of the settings without which the reading is not used, because the file cannot tell.
    """

    head: Head
    family: str
    form: InputForm = DEFAULT_FORM
    certain: bool = True
    assumes: bool = False
    missing: tuple[str, ...] = ()

    def refusal(self, evidence: Evidence) -> str:
        """Returns the message that names the missing keys."""
        keys = " and ".join(_KEYS[key] for key in self.missing if not evidence.given([key]))
        return f"{evidence.outputs_in_words()}: {self.family}; the file does not say enough, set {keys}"


def read_signature(evidence: Evidence) -> list[Reading]:
    """Returns the possible readings of a model, the likeliest first; empty if none is known.

    Raises:
        ModelError: The model is for another task.
    """
    if evidence.settings.head:
        return _of_key(evidence, evidence.settings.head)
    evidence.require_detection()
    for find in (_ultralytics_rtdetr, _target_sizes, _efficient_nms, _tensorflow, _detr, _apart, _scored):
        if found := find(evidence):
            return found
    found = [reading for tensor in evidence.tensors for reading in _of_tensor(evidence, tensor)]
    unknown = [tensor.name for tensor in evidence.signature.outputs if not tensor.shape]
    return found or [Reading(EndToEnd(name), "an output of unknown shape", certain=False) for name in unknown]


# --- by metadata and names ----------------------------------------------------------------------


def _ultralytics_rtdetr(evidence: Evidence) -> list[Reading]:
    decoder = evidence.metadata.get("head")
    about = evidence.metadata.get("description", "").lower()
    # Files from before the key `head`: no other head of Ultralytics samples a grid.
    older = evidence.of_ultralytics and ("GridSample" in evidence.operators or "rtdetr" in about.replace("-", ""))
    if decoder != "RTDETRDecoder" and not (decoder is None and older):
        return []
    return [reading for tensor in evidence.tensors for reading in _rtdetr(evidence, tensor)]


def _rtdetr(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    columns, offset = tensor.shape[2], evidence.settings.class_offset
    family = "Ultralytics' RT-DETR"
    ranked = Reading(UltralyticsRtDetr(tensor.name, True, offset), family, STRETCHED)
    scores = Reading(UltralyticsRtDetr(tensor.name, False, offset), family, STRETCHED)
    if columns == 6:  # two classes, or score and class: only a run shows
        if evidence.classes not in (0, 2):
            return [ranked]
        return [replace(ranked, certain=False), replace(scores, certain=False)]
    return [replace(scores, certain=columns >= 5)]


def _target_sizes(evidence: Evidence) -> list[Reading]:
    if not evidence.signature.extras or not evidence.has_all("labels", "boxes", "scores"):
        return []
    head = NamedOutputs("boxes", "scores", "labels", class_offset=evidence.settings.class_offset)
    return [Reading(head, "RT-DETRv2, D-FINE or DEIM with `orig_target_sizes`", ANTIALIASED, assumes=True)]


def _efficient_nms(evidence: Evidence) -> list[Reading]:
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


def _tensorflow(evidence: Evidence) -> list[Reading]:
    if not evidence.has_all("detection_boxes", "detection_scores", "detection_classes"):
        return []
    count = "num_detections" if "num_detections" in evidence.outputs else ""
    names = ("detection_boxes", "detection_scores", "detection_classes", count)
    head = NamedOutputs(*names, order="yxyx", relative=True, class_offset=evidence.settings.class_offset)
    first = Reading(head, "TensorFlow's detection API", STRETCHED, certain=False, missing=("input",))
    return [first, replace(first, head=replace(head, relative=False))]


def _detr(evidence: Evidence) -> list[Reading]:
    for logits, boxes in (("logits", "pred_boxes"), ("pred_logits", "pred_boxes"), ("labels", "dets")):
        if not evidence.has_all(logits, boxes) or len(evidence.outputs[logits].shape) != 3:
            continue
        if evidence.outputs[boxes].shape[-1] not in (4, -1):
            continue
        head = _detr_head(evidence, logits, boxes)
        if boxes == "dets":
            # Its losses are sigmoid focal ones; whether there is a class too many, nothing in the file tells.
            reading = Reading(replace(head, softmax=False), "RF-DETR", _RF_DETR, assumes=True, missing=("background",))
        elif _is_deformable(evidence):
            # Deformable attention samples by GridSample; all that select queries by TopK and see by convolutions
            # (RT-DETR, RT-DETRv2, D-FINE) have sigmoids and take 0..1.
            reading = Reading(head, "RT-DETR or D-FINE of transformers", ANTIALIASED, assumes=True)
        else:
            reading = Reading(head, "DETR", IMAGENET, assumes=True, missing=("background",))
        return [reading]
    return []


def _detr_head(evidence: Evidence, logits: str, boxes: str) -> Detr:
    background = evidence.settings.background or "none"
    return Detr(logits, boxes, background != "none", background, evidence.settings.class_offset)


def _is_deformable(evidence: Evidence) -> bool:
    count = evidence.operators.get
    return bool(count("GridSample", 0) and count("TopK", 0) and 2 * count("Conv", 0) >= count("MatMul", 0))


# --- boxes, scores and classes apart ------------------------------------------------------------


def _apart(evidence: Evidence) -> list[Reading]:
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


def _scored(evidence: Evidence) -> list[Reading]:
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


# --- by shape -----------------------------------------------------------------------------------


def _of_tensor(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """Readings of one output `[batch, p, q]`."""
    _, p, q = tensor.shape
    known, assumes = evidence.classes, not evidence.of_yolo
    offset = evidence.settings.class_offset
    anchors = evidence.anchors
    if _is_raw(evidence, p, q):
        certain = bool(known) or _is_segmenting(evidence)
        classes = _classes(evidence, tensor, p - 4)
        head = RawYolo(tensor.name, classes, True, offset)
        return [Reading(head, "Ultralytics' raw head", certain=certain, assumes=assumes)]
    if p in {3 * count for count in anchors} and q >= 6:
        classes = _classes(evidence, tensor, q - 5)
        return [Reading(ObjectnessYolo(tensor.name, classes, offset), "YOLOv5 or YOLOv7", assumes=assumes)]
    if p in anchors and q >= 5:
        return _of_cells(evidence, tensor)
    if q == 6 or (q > 6 and evidence.task in ("segment", "pose")):
        return _of_rows(evidence, tensor)
    if 0 < p <= 1000 and q >= 5:
        return [replace(one, certain=False, assumes=True) for one in _rtdetr(evidence, tensor)]
    if p < 0 or q < 0:
        return [Reading(EndToEnd(tensor.name), "an output of open shape", certain=False)]
    return []


def _is_raw(evidence: Evidence, p: int, q: int) -> bool:
    """Whether `[batch, p, q]` has a column p for each box side and class, and a candidate q for each cell."""
    if p < 5 or p < 4 + evidence.classes:
        return False
    # With class names the number of columns tells, whatever the strides.
    told = evidence.of_yolo and (p == 4 + evidence.classes or evidence.task in ("segment", "pose"))
    return q in evidence.anchors or (told and q > p) or (q < 0 and p != 300)


def _of_rows(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    head = EndToEnd(tensor.name, evidence.settings.class_offset, tensor.shape[2])
    if evidence.of_yolo:  # RT-DETR's six columns were found by its metadata and its GridSample
        return [Reading(head, "end-to-end rows")]
    rows = Reading(head, "end-to-end rows", missing=("input",))
    return [rows, *(replace(one, certain=False, missing=("input",)) for one in _rtdetr(evidence, tensor))]


def _of_cells(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """Readings of one candidate per cell, `[batch, A, q]`; which of them is right, only a run shows."""
    _, count, q = tensor.shape
    name, known, offset = tensor.name, evidence.classes, evidence.settings.class_offset
    assumes = not evidence.of_yolo
    readings = _of_rows(evidence, tensor) if q == 6 else []
    if q >= 6 and known in (0, q - 5):
        levels = evidence.anchors[count]
        undecoded = UndecodedYolox(name, q - 5, offset, levels)
        readings += [
            Reading(Yolov6(name, q - 5, offset), "YOLOv6", assumes=assumes),
            Reading(Yolox(name, q - 5, offset), "YOLOX, decoded", BGR_255, certain=False, assumes=True),
            Reading(undecoded, "YOLOX, undecoded", BGR_255, certain=False, assumes=True),
        ]
    if known == q - 4 or (not known and "Softmax" in evidence.operators and "Exp" not in evidence.operators):
        raw = Reading(RawYolo(name, q - 4, False, offset), "Ultralytics' raw head, transposed", assumes=assumes)
        readings = [one for one in readings if not isinstance(one.head, Yolox | UndecodedYolox)]
        readings.append(replace(raw, certain=False))
    return readings


def _classes(evidence: Evidence, tensor: TensorInfo, columns: int) -> int:
    """Returns how many of the columns are classes: the file may have masks, keypoints or angles behind them.

    Raises:
        ModelError: It has them, and the user has not said that the boxes alone are wanted.
    """
    known = evidence.classes or (columns - 32 if _is_segmenting(evidence) else columns)
    if columns == known:
        return columns
    if columns < known:
        raise ModelError(
            f"output {tensor.name!r} is {list(tensor.shape)}: {columns} classes, but the metadata names {known}"
        )
    if columns == known + 1 and evidence.task == "":
        raise ModelError(
            f"output {tensor.name!r} is {list(tensor.shape)}: one column more than the {known} classes; oriented boxes "
            "are not supported"
        )
    if evidence.settings.task != "detect":
        raise ModelError(
            f"output {tensor.name!r} is {list(tensor.shape)}: {columns - known} columns more than the {known} classes, "
            "for masks or keypoints; `task: detect` takes the boxes alone"
        )
    return known


def _is_segmenting(evidence: Evidence) -> bool:
    """Whether there are mask prototypes `[batch, 32, h, w]` beside the candidates."""
    return any(len(t.shape) == 4 and t.shape[1] == 32 for t in evidence.signature.outputs)


# --- by the user's key --------------------------------------------------------------------------


def _of_key(evidence: Evidence, key: str) -> list[Reading]:
    found = _detr(evidence) if key == "detr" else []
    if key == "detr" and not found:
        boxes = [t for t in evidence.tensors if t.shape[2] == 4]
        logits = [t for t in evidence.tensors if t not in boxes]
        if len(boxes) == len(logits) == 1:
            head = _detr_head(evidence, logits[0].name, boxes[0].name)
            found = [Reading(head, "DETR", IMAGENET, assumes=True, missing=("background",))]
    elif key == "named_outputs":
        for find in (_target_sizes, _efficient_nms, _tensorflow, _apart):
            found = found or find(evidence)
    elif key == "scored_boxes":
        found = _scored(evidence)
    else:
        found = [reading for tensor in evidence.tensors for reading in _of_single(evidence, tensor, key)]
    if not found:
        raise ModelError(f"head: {key} needs other outputs than {evidence.outputs_in_words()}")
    return found


def _of_single(evidence: Evidence, tensor: TensorInfo, key: str) -> list[Reading]:
    """The head that the user named, on one output `[batch, p, q]`."""
    _, p, q = tensor.shape
    name, offset = tensor.name, evidence.settings.class_offset
    if key == "rtdetr":
        return _rtdetr(evidence, tensor)
    if key == "end_to_end":
        missing = () if evidence.of_yolo else ("input",)
        return [Reading(EndToEnd(name, offset, q), "end-to-end rows", missing=missing)] if q >= 6 else []
    if p < 0 or q < 0:
        return [Reading(EndToEnd(name), "an output of open shape", certain=False)]
    if key == "yolo":
        last = q >= p
        classes = _classes(evidence, tensor, (p if last else q) - 4)
        return [Reading(RawYolo(name, classes, last, offset), "Ultralytics' raw head")] if classes > 0 else []
    if q < 6:
        return []
    classes = _classes(evidence, tensor, q - 5)
    if key == "yolov5":
        return [Reading(ObjectnessYolo(name, classes, offset), "YOLOv5 or YOLOv7")]
    if key == "yolox":
        return [Reading(Yolox(name, classes, offset), "YOLOX, decoded", BGR_255, assumes=True)]
    levels = evidence.anchors.get(p, (8, 16, 32))
    return [Reading(UndecodedYolox(name, classes, offset, levels), "YOLOX, undecoded", BGR_255, assumes=True)]
