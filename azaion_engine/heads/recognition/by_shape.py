"""Readings by shape: what one output `[batch, p, q]` can be."""

from __future__ import annotations

from dataclasses import replace

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import Keypoints, TensorInfo
from azaion_engine.heads.detr import UltralyticsRtDetr
from azaion_engine.heads.end_to_end import (
    CLASS_BEFORE_CONFIDENCE,
    CLASS_FIRST,
    INDEXED,
    INDEXED_CLASS,
    STRAIGHT,
    CandidateRows,
    EndToEnd,
)
from azaion_engine.heads.oriented import OrientedRows, OrientedYolo
from azaion_engine.heads.recognition.evidence import Evidence, shape_in_words
from azaion_engine.heads.recognition.reading import BGR_255, STRETCHED, Reading
from azaion_engine.heads.yolo import Coding, ObjectnessYolo, RawYolo, Yolov6
from azaion_engine.heads.yolox import UndecodedYolox, Yolox

MOST_ROWS = 1000
"""Most rows of a head that has suppressed its boxes; raw heads have more candidates."""

_MASKS = 32
"""Prototypes of masks, and coefficients of them for each box, in all of Ultralytics' segmentation models."""


def read_tensor(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """Readings of one output `[batch, p, q]`."""
    _, p, q = tensor.shape
    known, assumes = evidence.classes, not evidence.of_yolo
    offset = evidence.settings.class_offset
    anchors = evidence.anchors
    if _is_raw(evidence, p, q):
        certain = bool(known) or _is_segmenting(evidence)
        return of_codings(evidence, replace(read_raw_yolo(evidence, tensor), certain=certain, assumes=assumes))
    if p in {3 * count for count in anchors} and q >= 6:
        # Columns of two kinds have one class: DeepStream-Yolo's rows, and YOLOv5's candidates.
        readings = read_rows(evidence, tensor) if q == 6 and not evidence.of_yolo else []
        classes = count_classes(evidence, tensor, q - 5)
        head = ObjectnessYolo(tensor.name, classes, offset)
        # Where there is more than classes, only a run shows that classes come first.
        reading = Reading(head, "YOLOv5 or YOLOv7", certain=classes == q - 5, assumes=assumes)
        return [*readings, *of_codings(evidence, reading)]
    if p in anchors and q >= 5:
        return _of_cells(evidence, tensor)
    if q == 6 or (q > 6 and evidence.task in ("segment", "pose")):
        return read_rows(evidence, tensor)
    if q == 6 + _MASKS and _is_segmenting(evidence):
        if evidence.settings.task != "detect":
            raise ModelError(
                f"output {tensor.name!r} is {shape_in_words(tensor.shape)}: {_MASKS} columns more than a row's 6, for "
                "masks; `task: detect` takes the boxes alone"
            )
        return read_rows(evidence, tensor)
    if 0 < p <= MOST_ROWS and q >= 5:
        # Without metadata it may be any DETR's boxes and scores together, of other pictures.
        missing = () if evidence.of_yolo else ("input",)
        readings = []
        if known in (0, q - 4):
            readings += [replace(one, certain=False, missing=missing) for one in read_rtdetr(evidence, tensor)]
        if q == 7 and not evidence.of_yolo:
            readings += [replace(one, certain=False) for one in read_oriented_rows(evidence, tensor)]
        return readings
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


def read_rows(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """End-to-end rows; without metadata in any order, and RT-DETR's, which look alike."""
    points = evidence.keypoints
    if points is not None and tensor.shape[2] != 6 + points.columns:
        raise ModelError(
            f"output {tensor.name!r} is {shape_in_words(tensor.shape)}: expected {6 + points.columns} columns: a box, "
            f"confidence, class, {_in_words(points)}; `task: detect` takes the boxes alone"
        )
    _, count, columns = tensor.shape
    kind = CandidateRows if evidence.is_candidates(count) else EndToEnd
    head = kind(tensor.name, evidence.settings.class_offset, columns, keypoints=points)
    if points is not None:
        return [Reading(head, f"end-to-end rows with {points.count} keypoints", assumes=not evidence.of_yolo)]
    if evidence.of_yolo:  # RT-DETR's six columns were found by its metadata and its GridSample
        return [Reading(head, "end-to-end rows")]
    others = read_rtdetr(evidence, tensor) if evidence.settings.head is None else []
    family = "rows of every candidate" if head.selective else "end-to-end rows"
    return [
        Reading(head, family, missing=("input",)),
        *(
            Reading(changed, f"{family} {words}", missing=("input",))
            for words, changed in (
                ("of corners in 0..1", replace(head, relative=True)),
                ("that begin with class and confidence", replace(head, order=CLASS_FIRST)),
                ("that end with class and confidence", replace(head, order=CLASS_BEFORE_CONFIDENCE)),
                (
                    "that begin with class and confidence, corners in 0..1",
                    replace(head, order=CLASS_FIRST, relative=True),
                ),
            )
        ),
        *(replace(one, certain=False, missing=("input",)) for one in others),
    ]


def read_flat(evidence: Evidence) -> list[Reading]:
    """End-to-end rows without a batch dimension, `[n, 6]` or `[n, 7]`."""
    readings = []
    for tensor in evidence.signature.outputs:
        if len(tensor.shape) != 2 or tensor.shape[1] not in (6, 7) or "float" not in tensor.dtype:
            continue
        columns = tensor.shape[1]
        head = EndToEnd(tensor.name, evidence.settings.class_offset, columns, flat=True)
        first = Reading(head, "end-to-end rows without a batch", missing=("input",))
        orders = {"": STRAIGHT, " that begin with class and confidence": CLASS_FIRST}
        if columns == 6 and "scale_factor" in [extra.name for extra in evidence.signature.extras]:
            orders.pop("")  # PaddleDetection's
        if columns == 7:
            orders = {" of YOLO-NAS": INDEXED}
            if "flat" not in tensor.name:  # as super-gradients names it
                orders = {" of YOLOv7": INDEXED_CLASS, **orders}
        for words, order in orders.items():
            # PaddleDetection's `Resize` stretches, and class and confidence come first in its rows only.
            form = STRETCHED if order == CLASS_FIRST else first.form
            readings.append(replace(first, head=replace(head, order=order), family=first.family + words, form=form))
    return readings


def _of_cells(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """Readings of one candidate per cell, `[batch, A, q]`; which of them is right, only a run shows."""
    _, count, q = tensor.shape
    name, known, offset = tensor.name, evidence.classes, evidence.settings.class_offset
    assumes = not evidence.of_yolo
    readings = read_rows(evidence, tensor) if q == 6 else []
    if q >= 6 and known in (0, q - 5):
        levels = evidence.anchors[count]
        undecoded = UndecodedYolox(name, q - 5, offset, strides=levels)
        readings += [
            Reading(Yolov6(name, q - 5, offset), "YOLOv6", assumes=assumes),
            Reading(Yolox(name, q - 5, offset), "YOLOX, decoded", BGR_255, certain=False, assumes=True),
            Reading(undecoded, "YOLOX, undecoded", BGR_255, certain=False, assumes=True),
        ]
    # YOLOX's decoding has exponentials, and its network no softmax; where a file has both, only a run shows.
    exponential, softmax = "Exp" in evidence.operators, "Softmax" in evidence.operators
    if known == q - 4 or (not known and (softmax or not exponential)):
        raw = Reading(RawYolo(name, q - 4, False, offset), "Ultralytics' raw head, transposed", assumes=assumes)
        impossible = {Yolox: known or not exponential, UndecodedYolox: known or softmax}
        readings = [one for one in readings if not impossible.get(type(one.head))]
        # Offsets in cells and logarithms look like boxes in 0..1.
        is_decoded = not any(isinstance(one.head, UndecodedYolox) for one in readings)
        readings += of_codings(evidence, replace(raw, certain=False), relative=is_decoded)
    return readings


def of_codings(evidence: Evidence, reading: Reading, relative: bool = True) -> list[Reading]:
    """Readings of a raw head's coordinates: centres in pixels, or any other coding that a run shows.

    Metadata of Ultralytics' kind mean the former, unless the user names the head.

    Args:
        evidence: What is known of the model.
        reading: That of centres in pixels.
        relative: Whether they may be in 0..1.
    """
    told = evidence.of_yolo and evidence.settings.head is None
    if told or not isinstance(reading.head, RawYolo | ObjectnessYolo):
        return [reading]
    codings = {
        "": Coding(),
        ", boxes in 0..1": Coding(relative=True),
        ", corners": Coding(cornered=True),
        ", corners in 0..1": Coding(relative=True, cornered=True),
    }
    return [
        replace(reading, head=replace(reading.head, coding=coding), family=reading.family + words, certain=False)
        for words, coding in codings.items()
        if relative or not coding.relative
    ]


def read_raw_yolo(evidence: Evidence, tensor: TensorInfo, last: bool = True) -> Reading:
    """Ultralytics' candidates, with or without keypoints.

    Raises:
        ModelError: The number of columns is not that of the classes and keypoints.
    """
    columns, points = tensor.shape[1 if last else 2], evidence.keypoints
    known, offset = evidence.classes, evidence.settings.class_offset
    if points is None:
        classes = count_classes(evidence, tensor, columns - 4)
        return Reading(RawYolo(tensor.name, classes, last, offset), "Ultralytics' raw head")
    classes = columns - 4 - points.columns
    if classes < 1 or known not in (0, classes):
        raise ModelError(
            f"output {tensor.name!r} is {shape_in_words(tensor.shape)}: expected {4 + known + points.columns} columns: "
            f"a box, the {known} classes that the metadata names, {_in_words(points)}; `task: detect` takes the boxes "
            "alone"
        )
    head = RawYolo(tensor.name, classes, last, offset, points)
    return Reading(head, f"Ultralytics' raw head with {points.count} keypoints")


def _in_words(points: Keypoints) -> str:
    return f"{points.count} keypoints of {points.values} values"


def count_classes(evidence: Evidence, tensor: TensorInfo, columns: int) -> int:
    """Returns how many of the columns are classes: the file may have masks, keypoints or angles behind them.

    Raises:
        ModelError: It has them, and the user has not said that the boxes alone are wanted.
    """
    masked = columns > _MASKS and _is_segmenting(evidence)
    known = evidence.classes or (columns - _MASKS if masked else columns)
    if columns == known:
        return columns
    if columns < known:
        raise ModelError(
            f"output {tensor.name!r} is {shape_in_words(tensor.shape)}: {columns} classes, but the metadata names "
            f"class {known - 1}; ids begin with 0"
        )
    if columns == known + 1 and evidence.task == "":
        raise ModelError(
            f"output {tensor.name!r} is {list(tensor.shape)}: one column more than the {known} classes; `task: obb` "
            "takes it for the angle of oriented boxes"
        )
    if evidence.settings.task != "detect":
        raise ModelError(
            f"output {tensor.name!r} is {list(tensor.shape)}: {columns - known} columns more than the {known} classes, "
            "for masks or keypoints; `task: detect` takes the boxes alone"
        )
    return known


def read_oriented(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """Oriented boxes of a model that is known to find them: rows, or candidates.

    Raises:
        ModelError: The number of columns is not that of the classes.
    """
    _, p, q = tensor.shape
    if p < 0 and q < 0:
        return [Reading(OrientedRows(tensor.name), "an output of open shape", certain=False)]
    if q == 7 and p <= MOST_ROWS:
        return read_oriented_rows(evidence, tensor)
    return read_oriented_raw(evidence, tensor)


def read_oriented_rows(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """Rows of seven columns."""
    head = OrientedRows(tensor.name, evidence.settings.class_offset)
    return [Reading(head, "rows of oriented boxes", missing=() if evidence.of_yolo else ("input",))]


def read_oriented_raw(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """Ultralytics' candidates with an angle.

    Raises:
        ModelError: The number of columns is not that of the classes.
    """
    _, p, q = tensor.shape
    last = q < 0 or q >= p > 0
    columns, known = p if last else q, evidence.classes
    if known and columns != 5 + known:
        raise ModelError(
            f"output {tensor.name!r} is {shape_in_words(tensor.shape)}: expected {5 + known} columns: a box, "
            f"the {known} classes that the metadata names, an angle"
        )
    count = q if last else p
    if columns < 6 or (not known and count > 0 and count not in evidence.anchors):
        return []
    head = OrientedYolo(tensor.name, columns - 5, last, evidence.settings.class_offset)
    family = "Ultralytics' raw head of oriented boxes"
    return [Reading(head, family, certain=bool(known), assumes=not evidence.of_yolo)]


def _is_segmenting(evidence: Evidence) -> bool:
    """Whether there are mask prototypes `[batch, 32, h, w]` beside the candidates."""
    return any(len(t.shape) == 4 and t.shape[1] == _MASKS for t in evidence.signature.outputs)


def read_rtdetr(evidence: Evidence, tensor: TensorInfo) -> list[Reading]:
    """Ultralytics' RT-DETR: a score for each class, or score and class."""
    columns, offset = tensor.shape[2], evidence.settings.class_offset
    if 0 <= columns < 5:
        return []
    family = "Ultralytics' RT-DETR"
    ranked = Reading(UltralyticsRtDetr(tensor.name, True, offset), family, STRETCHED)
    scores = Reading(UltralyticsRtDetr(tensor.name, False, offset), family, STRETCHED)
    if columns == 6:  # two classes, or score and class: only a run shows
        if evidence.classes not in (0, 2):
            return [ranked]
        return [replace(ranked, certain=False), replace(scores, certain=False)]
    return [replace(scores, certain=columns >= 5)]
