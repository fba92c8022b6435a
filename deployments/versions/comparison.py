"""Comparison: how far the boxes of a new version agree with those of the serving one, on given pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import PictureError
from azaion_engine.results.detections import Detections
from deployments.errors import VersionRefusedError
from deployments.service import DetectorService
from deployments.versions.version import Trial

SAME_OBJECT = 0.5
"""IoU from which on two boxes of one class name show the same object, as COCO's AP50 has it."""


class Comparison(NamedTuple):
    """Boxes of two versions at their own default thresholds.

    Attributes:
        pictures: Pictures that both could use.
        before: Boxes of the serving version.
        after: Boxes of the new one.
        matched: Pairs of them of one class name whose IoU is at least `SAME_OBJECT`, each box in one pair at most.
        mean_iou: Mean of the IoU of the pairs; 0 without any.
    """

    pictures: int
    before: int
    after: int
    matched: int
    mean_iou: float

    @property
    def share(self) -> float:
        """Part of all boxes that have a partner, 0…1 (Dice's coefficient); 1 if neither version found any."""
        return 2 * self.matched / (self.before + self.after) if self.before + self.after else 1.0

    def __str__(self) -> str:
        return (
            f"{self.share:.1%} agree: {self.matched} boxes of both in {self.pictures} pictures, "
            f"{self.before} before and {self.after} now, mean IoU {self.mean_iou:.2f}"
        )


def compare(before: Detector, after: Detector, pictures: Sequence[bytes]) -> Comparison:
    """Runs both versions on pictures.

    Args:
        before: The serving version.
        after: The new one.
        pictures: Encoded; those that cannot be used are left out.
    """
    counted, boxes_before, boxes_after = 0, 0, 0
    overlaps: list[float] = []
    for picture in pictures:
        try:
            [old], [new] = before.detect([picture]), after.detect([picture])
        except PictureError:
            continue
        counted += 1
        boxes_before, boxes_after = boxes_before + len(old), boxes_after + len(new)
        overlaps += _pairs(old, new)
    return Comparison(counted, boxes_before, boxes_after, len(overlaps), float(np.mean(overlaps)) if overlaps else 0.0)


def try_out(before: DetectorService, after: DetectorService, trial: Trial) -> str:
    """Returns how far two versions agree on the pictures of a trial, in words.

    Args:
        before: The serving version, whose replica may keep pictures of the last requests.
        after: The new one.
        trial: The pictures, and how much is asked for.

    Raises:
        VersionRefusedError: They agree on less than is asked for, or something is asked for and no picture is there.
    """
    recent = before.front.recent if trial.recent else None
    pictures = (*trial.pictures, *(recent.kept() if recent is not None else ()))
    comparison = compare(before.detector, after.detector, pictures)
    if not comparison.pictures:
        told = _without_pictures(len(pictures), keeps=recent is not None)
        if trial.least:
            raise VersionRefusedError(told)
        return told
    if comparison.share < trial.least:
        raise VersionRefusedError(f"{comparison}; at least {trial.least:.1%} were asked for")
    return str(comparison)


def _without_pictures(given: int, keeps: bool) -> str:
    if given:
        return f"not compared: none of the {given} pictures can be used"
    if keeps:
        return "not compared: this replica has had no picture yet"
    return "not compared: this replica keeps no pictures; set recent_pictures in the configuration"


def _pairs(old: Detections, new: Detections) -> list[float]:
    """Returns the IoU of each pair; the most confident of the old boxes chooses first."""
    left = np.ones(len(new), bool)
    names = np.array([new.class_name(int(each)) for each in new.class_ids], object)
    found = []
    for box, class_id in zip(old.boxes, old.class_ids, strict=True):
        overlap = np.where(left & (names == old.class_name(int(class_id))), _iou(box, new.boxes), 0.0)
        if len(overlap) and overlap.max() >= SAME_OBJECT:
            best = int(overlap.argmax())
            left[best] = False
            found.append(float(overlap[best]))
    return found


def _iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the intersection over the union of `[4]` with each of `[n, 4]`, x1, y1, x2, y2 in pixels."""
    one, many = box.astype(np.float64), boxes.astype(np.float64)
    sides = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2])
    shared = sides.clip(0).prod(axis=1)
    union = (one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(axis=1) - shared
    return np.asarray(shared / union)
