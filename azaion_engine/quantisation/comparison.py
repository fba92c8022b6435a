"""Comparison: rate, boxes and average precision of a model at several precisions, and whether the last one is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import PictureError, ToleranceError
from azaion_engine.evaluation.classes import match_classes
from azaion_engine.evaluation.data_set import DataSet
from azaion_engine.evaluation.score import Scorer
from azaion_engine.plans.agreement import Agreement
from azaion_engine.results.detections import Detections
from azaion_engine.system.cores import available_cores

COMPARED = 0.25
"""Confidence from which on a box of FP32 must be found again."""

LEAST = 0.001
"""Confidence from which on boxes are asked for: average precision needs the end of its curve."""

MAP_LOSS, BOX_LOSS = 0.01, 0.1
"""Default tolerances: loss of mAP50 with labels; without, share of FP32's boxes that are not found again."""


@dataclass(frozen=True)
class Measured:
    """A model at one precision.

    Attributes:
        precision: `fp32`, `fp16`, `int8` or `fp8`.
        engine: What ran it.
        batch: Pictures of one execution.
        rate: Pictures per second of the engine alone, decoded beforehand.
        drift: Its boxes compared with FP32's, in pixels of the pictures; None of FP32 itself.
        map50: Mean average precision at IoU 0.50, 0…1; None without labels.
        map50_95: Mean over IoU 0.50 to 0.95.
    """

    precision: str
    engine: str
    batch: int
    rate: float
    drift: Agreement | None
    map50: float | None
    map50_95: float | None


class Comparison:
    """Measures one precision after the other on the same pictures; the first is what the others are compared with."""

    def __init__(
        self,
        pictures: Sequence[Path],
        labelled: DataSet | None,
        *,
        tolerance_px: float,
        seconds: float = 3.0,
        by_id: bool = False,
        failed: Callable[[str, PictureError], None] | None = None,
    ) -> None:
        """Stores the settings.

        Args:
            pictures: Pictures whose boxes are compared; ignored with labels.
            labelled: Labelled pictures, whose boxes are compared and scored.
            tolerance_px: Largest difference of a coordinate of two boxes that match, in pixels of the picture.
            seconds: Length of the measurement of a rate.
            by_id: Whether labels and model are matched by class ids, whatever the names are.
            failed: Called for each picture that fails, at the first measurement.
        """
        self._labelled, self._seconds, self._by_id, self._failed = labelled, seconds, by_id, failed
        self._tolerance_px = tolerance_px
        self._names = [one.name for one in labelled.pictures] if labelled else [str(path) for path in pictures]
        self._loads: list[Path | Callable[[], Path]] = (
            [one.load for one in labelled.pictures] if labelled else list(pictures)
        )
        self._reference: list[NDArray[np.float32]] | None = None
        self.measured: list[Measured] = []

    def measure(self, detector: Detector, precision: str) -> Measured:
        """Runs all pictures, then measures the rate.

        Args:
            detector: The model at this precision; stays open.
            precision: Its name.

        Raises:
            MissingDependencyError: There are labels, and pycocotools is not installed.
        """
        detector.warm_up()
        scorer = Scorer(match_classes(self._labelled, detector.names, by_id=self._by_id)) if self._labelled else None
        rows: list[NDArray[np.float32]] = []
        found = detector.detect_each(self._loads, threads=available_cores(), confidence=LEAST)
        for index, result in enumerate(found):
            try:
                if isinstance(result, PictureError):
                    raise result
                if scorer is not None and self._labelled is not None:
                    scorer.add(self._labelled.pictures[index], result)
                rows.append(_rows_of(result))
            except PictureError as error:
                rows.append(np.zeros((0, 6), np.float32))
                if self._reference is None and self._failed is not None:
                    self._failed(self._names[index], error)
        drift = None
        if self._reference is None:
            self._reference = rows
        else:
            drift = Agreement.of(rows, self._reference, precision, COMPARED, self._tolerance_px)
        score = scorer.score() if scorer is not None else None
        measured = Measured(
            precision=precision,
            engine=detector.engine.name,
            batch=detector.engine.get_batch_size(),
            rate=round(rate_of(detector, self._seconds), 2),
            drift=drift,
            map50=score.map50 if score else None,
            map50_95=score.map50_95 if score else None,
        )
        self.measured.append(measured)
        return measured

    def check(self, tolerance: float | None = None) -> None:
        """Compares the last measurement with the first one.

        Args:
            tolerance: With labels, largest loss of mAP50; without, largest share of FP32's boxes that are not found
                again. Default: `MAP_LOSS`, `BOX_LOSS`.

        Raises:
            ToleranceError: The loss is larger, or nothing could be compared.
        """
        first, last = self.measured[0], self.measured[-1]
        if self._labelled is not None:
            if first.map50 is None or last.map50 is None:
                raise ToleranceError("nothing could be scored: no picture that was answered has a label of the model's")
            loss, most, what = first.map50 - last.map50, MAP_LOSS if tolerance is None else tolerance, "mAP50"
            if loss > most:
                raise ToleranceError(
                    f"{last.precision} loses {loss:.4f} of {what} ({last.map50:.4f}, fp32 {first.map50:.4f}), "
                    f"the tolerance is {most:g}"
                )
            return
        drift, most = last.drift, BOX_LOSS if tolerance is None else tolerance
        if drift is None or not drift.boxes:
            raise ToleranceError(
                f"nothing could be compared: fp32 finds no box of confidence {COMPARED:g} in these pictures"
            )
        lost = 1 - drift.matched / drift.boxes
        if lost > most:
            raise ToleranceError(
                f"{last.precision} finds {drift.matched} of fp32's {drift.boxes} boxes again, {lost:.1%} are lost, "
                f"the tolerance is {most:.1%}"
            )


def rate_of(detector: Detector, seconds: float) -> float:
    """Returns the pictures per second of the engine alone, with full batches on all its lanes.

    The pictures are decoded and letterboxed beforehand; copying them to the GPU and making boxes are part of the time.

    Args:
        detector: Warm.
        seconds: Length of the measurement; at least one batch of each lane is run.
    """
    height, width = detector.engine.get_input_shape()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    batch = [detector.prepare(pixels)] * detector.engine.get_batch_size()

    def run_until(end: float) -> int:
        count = 0
        while not count or time.perf_counter() < end:
            for found in detector.infer(batch):
                if isinstance(found, Exception):
                    raise found
            count += len(batch)
        return count

    lanes = detector.engine.lanes
    with ThreadPoolExecutor(lanes, "rate") as pool:
        list(pool.map(run_until, [0.0] * lanes))  # the first execution of a lane is slow
        begun = time.perf_counter()
        pictures = sum(pool.map(run_until, [begun + seconds] * lanes))
    return pictures / (time.perf_counter() - begun)


def _rows_of(found: Detections) -> NDArray[np.float32]:
    columns = (found.boxes, found.confidences[:, None], found.class_ids[:, None])
    return np.concatenate(columns, axis=1).astype(np.float32)
