"""Tests of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from demo.training.evaluate import box_iou, clip_rows, evaluate, mean_average_precision

TRUTH = np.array([[10, 10, 50, 40, 0], [100, 20, 140, 90, 0], [30, 60, 80, 99, 3]], np.float32)


def perfect(truth: np.ndarray) -> np.ndarray:
    """Detections float32 [n,6] equal to the truth."""
    return np.concatenate((truth[:, :4], np.full((len(truth), 1), 0.9, np.float32), truth[:, 4:]), 1)


def test_iou() -> None:
    iou = box_iou(np.array([[0, 0, 10, 10]]), np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]]))
    assert iou[0] == pytest.approx([1.0, 1 / 3, 0.0])


def test_perfect_detections_score_one() -> None:
    report = mean_average_precision([perfect(TRUTH)], [TRUTH], 4)
    assert report.mean == pytest.approx(1.0)
    assert report.truths == [2, 0, 0, 1]
    assert np.isnan(report.average_precision[1])


def test_no_detections_score_zero() -> None:
    report = mean_average_precision([np.zeros((0, 6))], [TRUTH], 4)
    assert report.mean == 0.0


def test_half_of_a_class_found() -> None:
    report = mean_average_precision([perfect(TRUTH)[1:]], [TRUTH], 4)
    assert report.average_precision[0] == pytest.approx(0.5)
    assert report.average_precision[3] == pytest.approx(1.0)


def test_false_alarm_above_a_hit_halves_precision() -> None:
    rows = perfect(TRUTH[2:])
    wrong = rows.copy()
    wrong[:, :4] += 300
    wrong[:, 4] = 0.95
    report = mean_average_precision([np.concatenate((rows, wrong))], [TRUTH[2:]], 4)
    assert report.average_precision[3] == pytest.approx(0.5)


def test_duplicate_counts_as_false_alarm() -> None:
    rows = perfect(TRUTH[:2])
    doubled = np.concatenate((rows[:1], rows[:1], rows[1:]))
    doubled[:, 4] = (0.9, 0.8, 0.7)
    report = mean_average_precision([doubled], [TRUTH[:2]], 4)
    assert report.average_precision[0] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_evaluate_runs_the_detector_in_batches() -> None:
    pictures = [np.full((100, 150, 3), value, np.uint8) for value in range(3)]
    sizes: list[int] = []

    def detect(batch: list[np.ndarray]) -> list[np.ndarray]:
        sizes.append(len(batch))
        return [perfect(TRUTH) for _ in batch]

    report = evaluate(detect, [(picture, TRUTH) for picture in pictures], batch=2)
    assert sizes == [2, 1]
    assert report.mean == pytest.approx(1.0)


def test_clip_rows() -> None:
    rows = np.array([[-5, -5, 300, 20, 0.5, 1], [0, 0, 5, 5, 0.001, 1]], np.float32)
    assert clip_rows(rows, 100, 200).tolist() == [[0, 0, 200, 20, 0.5, 1]]
