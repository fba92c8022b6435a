from __future__ import annotations

import numpy as np
import pytest

from azaion_engine.heads.base import Selection
from azaion_engine.heads.yolo import AnchorYoloHead, YoloHead
from azaion_engine.heads.yolox import YoloxGridHead, YoloxHead
from tests.azaion_engine.heads.graphs import raw_values

SIZE = (64, 96)


def test_raw_values_become_rows_of_corners_best_class_and_score() -> None:
    values = raw_values(7, 12, {3: [30, 20, 10, 8, 0.1, 0.9, 0.2], 5: [60, 30, 4, 4, 0.6, 0.3, 0.1]})
    [rows] = YoloHead("o", 3).rows({"o": values[None]}, SIZE, [Selection(0.25)])
    np.testing.assert_allclose(rows, [[25, 16, 35, 24, 0.9, 1], [58, 28, 62, 32, 0.6, 0]], atol=1e-5)


@pytest.mark.parametrize("head", [YoloHead("o", 2, anchors_first=True), YoloHead("o", 2)])
def test_anchors_may_come_first_and_further_columns_are_ignored(head: YoloHead) -> None:
    values = raw_values(9, 20, {1: [30, 20, 10, 8, 0.1, 0.9, 5, 6, 7]})
    [rows] = head.rows({"o": (values.T if head.anchors_first else values)[None]}, SIZE, [Selection()])
    np.testing.assert_allclose(rows, [[25, 16, 35, 24, 0.9, 1]], atol=1e-5)


def test_each_picture_has_its_own_selection() -> None:
    values = raw_values(5, 9, {0: [10, 10, 8, 8, 0.9], 1: [11, 10, 8, 8, 0.5], 2: [50, 10, 8, 8, 0.3]})
    wanted = [Selection(0.25), Selection(0.4), Selection(0.25, iou=0.9), Selection(0.25, max_detections=1)]
    found = YoloHead("o", 1).rows({"o": np.stack([values] * 4)}, SIZE, wanted)
    confidences = [[round(float(confidence), 2) for confidence in rows[:, 4]] for rows in found]
    assert confidences == [[0.9, 0.3], [0.9], [0.9, 0.5, 0.3], [0.9]]


def test_a_score_at_the_threshold_is_left_out_and_no_box_is_an_empty_array() -> None:
    values = raw_values(5, 9, {0: [10, 10, 8, 8, 0.25]})
    [rows] = YoloHead("o", 1).rows({"o": values[None]}, SIZE, [Selection(0.25)])
    assert rows.shape == (0, 6)
    assert rows.dtype == np.float32


def test_objectness_multiplies_the_class_scores() -> None:
    values = raw_values(
        7, 9, {0: [10, 10, 8, 8, 0.5, 0.6, 0.9], 1: [50, 10, 8, 8, 0.2, 1, 1], 2: [30, 9, 4, 4, 0.9, 0.2, 0.1]}
    )
    [rows] = AnchorYoloHead("o", 2).rows({"o": values.T[None]}, SIZE, [Selection(0.25)])
    np.testing.assert_allclose(rows, [[6, 6, 14, 14, 0.45, 1]], atol=1e-5)


def test_the_families_have_their_own_threshold_of_overlap() -> None:
    # Boxes of 10 × 10, shifted by 3: they share 7/13 of their union.
    columns = {0: [20, 20, 10, 10, 0.9, 0.9], 1: [23, 20, 10, 10, 0.8, 0.9]}
    plain = raw_values(5, 9, {anchor: column[:5] for anchor, column in columns.items()})
    assert len(YoloHead("o", 1).rows({"o": plain[None]}, SIZE, [Selection()])[0]) == 2
    assert len(AnchorYoloHead("o", 1).rows({"o": raw_values(6, 9, columns).T[None]}, SIZE, [Selection()])[0]) == 1
    assert len(YoloxHead("o", 1).rows({"o": raw_values(6, 9, columns).T[None]}, SIZE, [Selection()])[0]) == 1


def test_a_grid_of_three_strides_is_decoded() -> None:
    # 64 × 96: 8 × 12 cells of 8 pixels, then 4 × 6 of 16, then 2 × 3 of 32.
    log2 = float(np.log(2))
    columns = {
        13: [0.5, 0.25, 0, log2, 1, 0.9],  # row 1, column 1 of stride 8: centre (1.5, 1.25) × 8, size 8 × 16
        96 + 7: [0, 0, log2, 0, 1, 0.8],  # row 1, column 1 of stride 16
        96 + 24 + 5: [0.5, 0.5, 0, 0, 1, 0.7],  # row 1, column 2 of stride 32
    }
    values = raw_values(6, 126, columns)
    [rows] = YoloxGridHead("o", 1).rows({"o": values.T[None]}, SIZE, [Selection()])
    expected = [[8, 2, 16, 18, 0.9, 0], [0, 8, 32, 24, 0.8, 0], [64, 32, 96, 64, 0.7, 0]]
    np.testing.assert_allclose(rows, expected, atol=1e-4)
