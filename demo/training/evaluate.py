"""Evaluate: mean average precision at IoU 0.5, in NumPy.

The average precision of a class is the area under its interpolated precision-recall curve at every recall (PASCAL VOC
2010 and later), over all scenes. Detections are matched greedily by falling confidence; each truth box is matched once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from demo.scenes.objects import CLASS_NAMES
from demo.scenes.scene import render_scene

HELD_OUT_SEED = 900_000_000
"""First seed of the held-out scenes; training seeds are smaller."""

Detect = Callable[[list[np.ndarray]], list[np.ndarray]]
"""Maps RGB uint8 [H,W,3] pictures to float [n,6] rows: x1, y1, x2, y2 (picture pixels), confidence, class."""


class Report(NamedTuple):
    """Result of an evaluation.

    Attributes:
        average_precision: per class, 0..1; NaN for a class without truth.
        mean: mean over the classes that have truth.
        truths: number of truth boxes per class.
        recall: recall per class with all detections counted; NaN for a class without truth.
    """

    average_precision: list[float]
    mean: float
    truths: list[int]
    recall: list[float]


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU float64 [n,m] of boxes float [n,4] and float [m,4] (x1,y1,x2,y2)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(a[:, 2:4] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:4] - b[:, :2], axis=1)
    return common / np.maximum(area_a[:, None] + area_b[None] - common, 1e-9)


def mean_average_precision(
    predictions: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    num_classes: int,
    iou_threshold: float = 0.5,
) -> Report:
    """Score detections.

    Args:
        predictions: per scene float [n,6], x1,y1,x2,y2,confidence,class.
        truths: per scene float [m,5], x1,y1,x2,y2,class.
        num_classes: number of classes.
        iou_threshold: smallest IoU of a match.

    Returns:
        Average precision and recall per class, and the mean.
    """
    values: list[float] = []
    recalls: list[float] = []
    counts: list[int] = []
    for label in range(num_classes):
        scores: list[np.ndarray] = []
        hits: list[np.ndarray] = []
        total = 0
        for found, truth in zip(predictions, truths, strict=True):
            mine = found[found[:, 5] == label]
            mine = mine[np.argsort(-mine[:, 4], kind="stable")]
            wanted = truth[truth[:, 4] == label]
            total += len(wanted)
            scores.append(mine[:, 4])
            hits.append(_match(mine, wanted, iou_threshold))
        value, recall = _area(
            np.concatenate(scores or [np.zeros(0)]), np.concatenate(hits or [np.zeros(0, bool)]), total
        )
        values.append(value)
        recalls.append(recall)
        counts.append(total)
    present = [value for value, total in zip(values, counts, strict=True) if total]
    return Report(values, float(np.mean(present)) if present else float("nan"), counts, recalls)


def _match(found: np.ndarray, wanted: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Match one class of one scene; return bool [n], true where matched."""
    hits = np.zeros(len(found), bool)
    if not len(found) or not len(wanted):
        return hits
    iou = box_iou(found[:, :4], wanted[:, :4])
    for row in range(len(found)):
        column = int(np.argmax(iou[row]))
        if iou[row, column] >= iou_threshold:
            hits[row] = True
            iou[:, column] = -1.0
    return hits


def _area(scores: np.ndarray, hits: np.ndarray, total: int) -> tuple[float, float]:
    """Area under the interpolated curve and the final recall."""
    if total == 0:
        return float("nan"), float("nan")
    ordered = hits[np.argsort(-scores, kind="stable")]
    correct = np.cumsum(ordered)
    recall = np.concatenate(([0.0], correct / total))
    precision = correct / np.arange(1, len(ordered) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope)), float(recall[-1])


def evaluate(detect: Detect, scenes: Sequence[tuple[np.ndarray, np.ndarray]], batch: int = 1) -> Report:
    """Run a detector over scenes and score it.

    Args:
        detect: the detector.
        scenes: pairs of a uint8 [H,W,3] picture and float32 [n,5] boxes.
        batch: pictures per call of the detector.

    Returns:
        The report over all scenes.
    """
    predictions: list[np.ndarray] = []
    for start in range(0, len(scenes), batch):
        predictions += detect([np.asarray(scene[0]) for scene in scenes[start : start + batch]])
    return mean_average_precision(predictions, [scene[1] for scene in scenes], len(CLASS_NAMES))


def clip_rows(rows: np.ndarray, height: int, width: int, floor: float = 0.01) -> np.ndarray:
    """Drop rows of float [n,6] whose confidence is below `floor` and clip boxes to a picture."""
    rows = rows[rows[:, 4] >= floor].copy()
    rows[:, 0:4:2] = rows[:, 0:4:2].clip(0, width)
    rows[:, 1:4:2] = rows[:, 1:4:2].clip(0, height)
    return rows


def onnx_detector(path: str, threads: int = 2) -> Detect:
    """Return a detector that runs an ONNX file in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def detect(pictures: list[np.ndarray]) -> list[np.ndarray]:
        stack = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255
        output = session.run(None, {name: stack})[0]
        return [clip_rows(rows, *picture.shape[:2]) for rows, picture in zip(output, pictures, strict=True)]

    return detect


def format_report(report: Report) -> str:
    """Format a report as text, one line per class."""
    lines = [
        f"{name:>9}  AP50 {value:.4f}  recall {recall:.4f}  truths {count}"
        for name, value, recall, count in zip(
            CLASS_NAMES, report.average_precision, report.recall, report.truths, strict=True
        )
    ]
    return "\n".join([*lines, f"{'mean':>9}  AP50 {report.mean:.4f}"])


def main() -> None:
    """Evaluate an ONNX model on held-out scenes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--size", type=int, default=1280)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    pairs = []
    for index in range(options.scenes):
        scene = render_scene(HELD_OUT_SEED + index, options.size, options.size)
        pairs.append((scene.picture, scene.boxes))
    start = time.perf_counter()
    report = evaluate(onnx_detector(options.model, options.threads), pairs)
    seconds = (time.perf_counter() - start) / max(len(pairs), 1)
    print(format_report(report))
    print(f"{seconds * 1000:.0f} ms per picture, {options.threads} threads")


if __name__ == "__main__":
    main()
