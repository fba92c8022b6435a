"""Scorer: average precision of detections on labelled pictures, computed by pycocotools.

The measure is COCO's (cocodataset.org, "Detection evaluation"): precision at 101 recalls, averaged; IoU thresholds
0.50, 0.55 … 0.95; the mean over the classes that have a label.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.evaluation.classes import ClassMatch
from azaion_engine.evaluation.data_set import LabelledPicture
from azaion_engine.extras import import_extra
from azaion_engine.results.detections import Detections

MAX_DETECTIONS = 300
"""Detections of a picture that count, the most confident ones; Ultralytics' `val` has the same default."""

_IOU_50, _IOU_75 = 0, 5
"""Indices of the IoU thresholds 0.50 and 0.75 among pycocotools' ten."""


@dataclass(frozen=True)
class ClassScore:
    """Score of one class.

    Attributes:
        class_id: Id of the model's class.
        name: Its name.
        labels: Labelled objects, crowds not counted.
        pictures: Pictures that have one of them.
        ap50_95: Average precision, mean over IoU thresholds 0.50 to 0.95, 0…1; None without labels.
        ap50: At IoU 0.50.
        ap75: At IoU 0.75.
    """

    class_id: int
    name: str
    labels: int
    pictures: int
    ap50_95: float | None
    ap50: float | None
    ap75: float | None


@dataclass(frozen=True)
class Score:
    """Mean average precision and its classes.

    Attributes:
        map50_95: Mean over IoU thresholds 0.50 to 0.95 and over the classes that have a label, 0…1; None if none has.
        map50: At IoU 0.50.
        map75: At IoU 0.75.
        labels: Labelled objects, crowds not counted.
        pictures: Pictures that were scored.
        classes: Each class, ids ascending.
    """

    map50_95: float | None
    map50: float | None
    map75: float | None
    labels: int
    pictures: int
    classes: tuple[ClassScore, ...]


def require_pycocotools() -> None:
    """Loads pycocotools, so that a long run does not end without it.

    Raises:
        MissingDependencyError: It is not installed; the message names the extra.
    """
    import_extra("pycocotools.cocoeval", "pycocotools", "pip install 'azaion-engine[eval]'")


class Scorer:
    """Collects labels and detections of pictures, then scores them."""

    def __init__(self, classes: ClassMatch, *, max_detections: int = MAX_DETECTIONS) -> None:
        """Loads pycocotools.

        Args:
            classes: The classes to score; labels and detections of others are ignored.
            max_detections: Detections of a picture that count, the most confident ones; 1 or greater.

        Raises:
            MissingDependencyError: pycocotools is not installed.
        """
        require_pycocotools()
        self._classes = classes
        self._scored = np.array(sorted(set(classes.model_ids.values())), np.int64)
        self._max_detections = max_detections
        self._pictures: list[_Picture] = []

    def add(self, picture: LabelledPicture, found: Detections) -> None:
        """Adds a picture; one without labels counts too, since what is found there is wrong.

        Raises:
            PictureError: The labels were made for a picture of another size; nothing was added.
        """
        labels = picture.labels
        truth = labels.in_pixels(found.picture_width, found.picture_height)
        model_ids = np.array([self._classes.model_ids.get(int(one), -1) for one in labels.class_ids], np.int64)
        wanted = model_ids >= 0
        kept = np.flatnonzero(np.isin(found.class_ids, self._scored))[: self._max_detections]
        self._pictures.append(
            _Picture(
                _Boxes.of(truth[wanted], model_ids[wanted], labels.crowd[wanted]),
                _Boxes.of(found.boxes[kept], found.class_ids[kept], found.confidences[kept]),
            )
        )

    def score(self) -> Score:
        """Scores the pictures added so far."""
        classes = tuple(self._score_class(int(class_id)) for class_id in self._scored)
        return Score(
            map50_95=_mean(one.ap50_95 for one in classes),
            map50=_mean(one.ap50 for one in classes),
            map75=_mean(one.ap75 for one in classes),
            labels=sum(one.labels for one in classes),
            pictures=len(self._pictures),
            classes=classes,
        )

    def _score_class(self, class_id: int) -> ClassScore:
        # Class by class, because pycocotools needs a dict for each box: all classes at once take gigabytes.
        truths: list[dict[str, Any]] = []
        founds: list[dict[str, Any]] = []
        labels = pictures = 0
        for image, picture in enumerate(self._pictures, 1):
            truth, found = picture.truth.of_class(class_id), picture.found.of_class(class_id)
            counted = int((truth.values == 0).sum())
            labels += counted
            pictures += counted > 0
            truths += [
                {**_annotation(image, class_id, len(truths) + i, box), "iscrowd": int(crowd)}
                for i, (box, crowd) in enumerate(zip(truth.boxes.tolist(), truth.values.tolist(), strict=True), 1)
            ]
            founds += [
                {**_annotation(image, class_id, len(founds) + i, box), "score": score}
                for i, (box, score) in enumerate(zip(found.boxes.tolist(), found.values.tolist(), strict=True), 1)
            ]
        name = self._classes.names[class_id]
        if not labels:
            return ClassScore(class_id, name, 0, 0, None, None, None)
        precision = _average_precision(truths, founds, class_id, self._max_detections)
        return ClassScore(
            class_id,
            name,
            labels,
            pictures,
            ap50_95=float(precision.mean()),
            ap50=float(precision[_IOU_50]),
            ap75=float(precision[_IOU_75]),
        )


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Labelled or detected boxes of one picture.

    Attributes:
        boxes: float64 `[n, 4]` of x, y, width, height in pixels.
        class_ids: int64 `[n]`, of the model's classes.
        values: float64 `[n]`: of detections the confidence, of labels 1 for a crowd, else 0.
    """

    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, corners: NDArray[Any], class_ids: NDArray[np.int64], values: NDArray[Any]) -> _Boxes:
        boxes = corners.astype(np.float64)  # a copy
        boxes[:, 2:] -= boxes[:, :2]
        return cls(boxes, class_ids, values.astype(np.float64))

    def of_class(self, class_id: int) -> _Boxes:
        mine = self.class_ids == class_id
        return _Boxes(self.boxes[mine], self.class_ids[mine], self.values[mine])


@dataclass(frozen=True, eq=False)
class _Picture:
    truth: _Boxes
    found: _Boxes


def _annotation(image: int, class_id: int, number: int, box: list[float]) -> dict[str, Any]:
    """Returns what labels and detections have in common; `number` is 1 or greater, pycocotools reads 0 as no match."""
    return {"id": number, "image_id": image, "category_id": class_id, "bbox": box, "area": box[2] * box[3]}


def _average_precision(
    truths: list[dict[str, Any]], founds: list[dict[str, Any]], class_id: int, max_detections: int
) -> NDArray[np.float64]:
    """Returns the average precision of one class at each of the ten IoU thresholds, float64 `[10]`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = sorted({one["image_id"] for one in (*truths, *founds)})
    with redirect_stdout(io.StringIO()):  # it prints its progress
        sides = []
        for annotations in (truths, founds):
            side = COCO()
            side.dataset = {
                "images": [{"id": image} for image in images],
                "annotations": annotations,
                "categories": [{"id": class_id}],
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "bbox")
        # `summarize` is not used: it reads the mean at 100 detections, whatever is set here.
        evaluation.params.maxDets = [max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU, recall, class, area, detections]; no entry is -1, since the class has labels.
    return np.asarray(evaluation.eval["precision"][:, :, 0, 0, 0].mean(axis=1), np.float64)


def _mean(values: Iterable[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return sum(given) / len(given) if given else None
