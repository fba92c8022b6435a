"""benchmarks.service.swap: which answers have the same boxes."""

from __future__ import annotations

import numpy as np

from benchmarks.service.swap import same_boxes

ROWS = np.array([[100, 20, 140, 60, 0.9003, 1], [99.99, 20, 140, 60, 0.9001, 2], [7, 7, 30, 30, 0.52, 1]], np.float32)
NONE = np.empty((0, 6), np.float32)


def changed(row: int, column: int, value: float) -> np.ndarray:
    made = ROWS.copy()
    made[row, column] = value
    return made


def test_another_order_a_small_move_and_an_unsure_box_are_no_difference() -> None:
    assert same_boxes(ROWS, ROWS[[1, 0, 2]])
    assert same_boxes(ROWS, changed(0, 0, 100.5))
    assert same_boxes(ROWS, ROWS[:2])
    assert same_boxes(NONE, ROWS[2:])
    assert same_boxes(NONE, NONE)


def test_a_sure_box_that_only_one_answer_has_is_a_difference() -> None:
    for other in (ROWS[1:], changed(0, 5, 2), changed(0, 2, 143), NONE):
        assert not same_boxes(ROWS, other)
        assert not same_boxes(other, ROWS)
