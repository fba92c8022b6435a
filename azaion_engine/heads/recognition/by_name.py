"""Readings by metadata and by the names of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from azaion_engine.heads.base import TARGET_SIZES, TensorInfo
from azaion_engine.heads.detr import Detr
from azaion_engine.heads.named_outputs import NamedOutputs, PluginBoxes, ScoredBoxes
from azaion_engine.heads.recognition.by_shape import read_rtdetr
from azaion_engine.heads.recognition.evidence import Evidence
from azaion_engine.heads.recognition.reading import ANTIALIASED, IMAGENET, RF_DETR, STRETCHED, Reading
from azaion_engine.pictures.input_form import DEFAULT_FORM, layout_of


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
    if TARGET_SIZES not in [extra.name for extra in evidence.signature.extras] or not evidence.has_all(
        "labels", "boxes", "scores"
    ):
        return []
    boxes, scores, labels = evidence.full("boxes", "scores", "labels")
    head = NamedOutputs(boxes, scores, labels, class_offset=evidence.settings.class_offset)
    # DEIMv2 takes ImageNet's normalisation where its backbone is DINOv3, a transformer (`tools/inference/torch_inf.py`,
    # `vit_backbone`); all others take 0..1.
    missing = () if _sees_by_convolutions(evidence) else ("input",)
    family = "RT-DETRv2, D-FINE or DEIM with `orig_target_sizes`"
    return [Reading(head, family, ANTIALIASED, assumes=True, missing=missing)]


def read_efficient_nms(evidence: Evidence) -> list[Reading]:
    """TensorRT's EfficientNMS: taken out of the model, or followed by other nodes."""
    family = "YOLO with TensorRT's EfficientNMS"
    if plugin := evidence.signature.suppression:
        suppressing = PluginBoxes(plugin, False, evidence.settings.class_offset)
        pixels = Reading(suppressing, family, certain=False, assumes=not evidence.of_yolo)
        return [pixels, replace(pixels, head=replace(suppressing, relative=True))]
    names = ("det_boxes", "det_scores", "det_classes", "num_dets")
    if not evidence.has_all(*names):
        return []
    boxes, scores, classes, count = evidence.full(*names)
    head = NamedOutputs(boxes, scores, classes, count, class_offset=evidence.settings.class_offset)
    return [Reading(head, family, certain=False, assumes=True)]


def read_tensorflow(evidence: Evidence) -> list[Reading]:
    """TensorFlow's detection API, by the names `detection_…`."""
    if not evidence.has_all("detection_boxes", "detection_scores", "detection_classes"):
        return []
    boxes, scores, classes = evidence.full("detection_boxes", "detection_scores", "detection_classes")
    [count] = evidence.full("num_detections") if "num_detections" in evidence.outputs else [""]
    head = NamedOutputs(boxes, scores, classes, count, "yxyx", True, class_offset=evidence.settings.class_offset)
    relative = Reading(head, "TensorFlow's detection API", STRETCHED, certain=False, missing=("input",))
    pixels = replace(head, relative=False)
    if _is_nchw(evidence):
        # TensorFlow's own are in 0..1. Pixels of a PyTorch model are those of TensorRT's EfficientNMS, whose outputs
        # have these names too and begin with x (TensorRT, `plugin/efficientNMSPlugin/README.md`).
        relative = replace(relative, family=f"{relative.family}, or EfficientNMS by the same names")
        pixels = replace(pixels, order="xyxy")
    # Pixels first: where the sample has no boxes, boxes in 0..1 taken for pixels are refused later, not answered.
    return [replace(relative, head=pixels), relative]


def read_detr(evidence: Evidence) -> list[Reading]:
    """DETR and its kin, by the names of logits and boxes."""
    for logits, boxes in (("logits", "pred_boxes"), ("pred_logits", "pred_boxes"), ("labels", "dets")):
        if not evidence.has_all(logits, boxes) or len(evidence.outputs[logits].shape) != 3:
            continue
        if evidence.outputs[boxes].shape[-1:] not in ((4,), (-1,)):
            continue
        # A run shows whether the scores are logits: some exports have made shares of them.
        head = detr_head(evidence, *evidence.full(logits, boxes))
        detr = Reading(head, "DETR", IMAGENET, certain=False, assumes=True, missing=("background",))
        if boxes == "dets":
            # Its losses are sigmoid focal ones; whether there is a class too many, nothing in the file tells.
            return [replace(detr, head=replace(head, softmax=False), family="RF-DETR", form=RF_DETR)]
        if _is_deformable(evidence):
            # Deformable attention samples by GridSample; all that select queries by TopK and see by convolutions
            # (RT-DETR, RT-DETRv2, D-FINE) have sigmoids and take 0..1.
            return [replace(detr, family="RT-DETR or D-FINE of transformers", form=ANTIALIASED, missing=())]
        return [detr]
    return []


def detr_head(evidence: Evidence, logits: str, boxes: str) -> Detr:
    """Returns the head of two outputs, with the user's background class."""
    background = evidence.settings.background or "none"
    return Detr(logits, boxes, background != "none", background, evidence.settings.class_offset)


def _is_deformable(evidence: Evidence) -> bool:
    count = evidence.operators.get
    return bool(count("GridSample", 0) and count("TopK", 0) and _sees_by_convolutions(evidence))


def _sees_by_convolutions(evidence: Evidence) -> bool:
    """Whether the backbone is a convolutional network; the encoder and decoder of a DETR have few MatMul beside it."""
    return 2 * evidence.operators.get("Conv", 0) >= evidence.operators.get("MatMul", 0)


# --- boxes, scores and classes apart ------------------------------------------------------------


def read_apart(evidence: Evidence) -> list[Reading]:
    """mmdeploy, torchvision, YOLO-NAS and others, by what is alike in their names and shapes."""
    outputs = evidence.signature.outputs
    found = [t for t in outputs if len(t.shape) == 3 and t.shape[2] in (4, 5)]
    found = found or [t for t in outputs if len(t.shape) == 2 and t.shape[1] in (4, 5)]
    if len(found) != 1:
        return []
    box = found[0]
    rank = len(box.shape) - 1
    counts = [t for t in _named(outputs, "num", "count") if t is not box and t.shape[1:] in ((), (1,))]
    rest = [t for t in outputs if t is not box and t not in counts and _has_rank(t, rank)]
    # Not the picture's size, which detectron2 gives as well.
    rest = [t for t in rest if t.shape[rank - 1] == box.shape[rank - 1]] or rest
    classes = _named(rest, "label", "class", "cls") or [t for t in rest if t.dtype.startswith("int")]
    scores = [t for t in _named(rest, "score", "conf", "prob") or rest if t not in classes]
    pairs = [(scores, classes)]
    if not classes and len(rest) == 2 and box.shape[-1] == 4 and _is_nchw(evidence):
        pairs = [(rest[:1], rest[1:]), (rest[1:], rest[:1])]  # floats without a name: one run tells which are whole
    readings = []
    candidates = evidence.is_candidates(box.shape[rank - 1])
    family = "boxes, scores and classes apart, as mmdeploy and torchvision give them"
    if candidates:
        family = "boxes, scores and classes of every candidate, as Qualcomm AI Hub gives them"
    for scores, classes in pairs:
        if len(classes) != 1 or (box.shape[-1] == 4) != (len(scores) == 1):
            return []
        head = NamedOutputs(
            box.name,
            scores[0].name if scores else "",
            classes[0].name,
            counts[0].name if counts and rank == 2 else "",
            batched=rank == 2,
            selective=candidates,
            class_offset=evidence.settings.class_offset,
        )
        form = DEFAULT_FORM if candidates else STRETCHED  # only YOLO has a candidate for each cell
        readings.append(Reading(head, family, form, certain=False, missing=("input", *_order_key(evidence))))
    return readings


def read_scored(evidence: Evidence) -> list[Reading]:
    """SSD, YOLOv4, DAMO-YOLO, PP-YOLOE and others: decoded boxes, and a score for each class."""
    # `[b, n, 1, 4]` is YOLOv4's: the same box for each class.
    boxes = [t for t in evidence.signature.outputs if len(t.shape) in (3, 4) and t.shape[2:] in ((4,), (1, 4))]
    scores = [t for t in evidence.tensors if t not in boxes] if len(boxes) == 1 else []
    if len(boxes) == 2:  # four classes
        scores = _named(boxes, "score", "conf", "prob", "class")
        boxes = [t for t in boxes if t not in scores]
    if len(boxes) != 1 or len(scores) != 1:
        return []
    box, score = boxes[0], scores[0]
    transposed = score.shape[2] == box.shape[1] != score.shape[1]
    if not transposed and not _agree(box.shape[1], score.shape[1]):
        return []
    head = ScoredBoxes(
        box.name,
        score.name,
        False,
        evidence.settings.background or "none",
        evidence.settings.class_offset,
        transposed,
    )
    family = "boxes with a score for each class, as SSD gives them"
    missing = ("background", "input", *_order_key(evidence))
    first = Reading(head, family, STRETCHED, certain=False, missing=missing)
    return [
        replace(
            first,
            head=replace(head, centred=centred, relative=relative),
            family=f"{family}, centre first" if centred else family,
        )
        for centred in (False, True)
        for relative in (False, True)
    ]


def _has_rank(tensor: TensorInfo, rank: int) -> bool:
    """Whether a tensor has so many dimensions, but for a last one of 1."""
    return len(tensor.shape) == rank or (len(tensor.shape) == rank + 1 and tensor.shape[-1] == 1)


def _is_nchw(evidence: Evidence) -> bool:
    """Whether it is no model of TensorFlow, whose boxes begin with y."""
    return layout_of(evidence.signature.picture.shape) == "nchw"


def _order_key(evidence: Evidence) -> tuple[str, ...]:
    """The key that says that boxes begin with x, where a model may be TensorFlow's: no run shows which it is."""
    return () if _is_nchw(evidence) else ("head",)


def _named(tensors: Sequence[TensorInfo], *words: str) -> list[TensorInfo]:
    return [t for t in tensors if any(word in t.name.lower() for word in words)]


def _agree(one: int, other: int) -> bool:
    return one == other or -1 in (one, other)
