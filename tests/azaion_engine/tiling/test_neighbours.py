"""The spatial index finds exactly the pairs that share area."""

from __future__ import annotations

import numpy as np
import pytest

from azaion_engine.errors import TooManyBoxesError
from azaion_engine.tiling import neighbours
from azaion_engine.tiling.neighbours import overlapping_pairs


def _boxes(count: int, largest: float, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners, sides = rng.uniform(0, 900, (count, 2)), np.exp(rng.uniform(-1, np.log(largest), (count, 2)))
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


@pytest.mark.parametrize("largest", [2, 30, 1000])
def test_each_pair_of_a_group_that_shares_area_is_found_once(largest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_AT_ONCE", 50)  # several chunks
    boxes = _boxes(400, largest)
    groups = np.random.default_rng(4).choice([0, 7, 10**9], len(boxes))
    found = [
        (min(pair), max(pair))
        for one, other in overlapping_pairs(boxes, groups)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    share = (low < high).all(axis=2) & (groups[:, None] == groups)
    expected = list(zip(*(axis.tolist() for axis in np.triu(share, 1).nonzero()), strict=True))
    assert sorted(found) == expected
    assert expected or largest == 2


def test_boxes_that_only_touch_are_no_pair() -> None:
    boxes = np.array([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16]], np.float32)
    assert sum(len(one) for one, _ in overlapping_pairs(boxes, np.zeros(3, np.int64))) == 0


def test_no_boxes_have_no_pairs() -> None:
    assert list(overlapping_pairs(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))) == []


def test_boxes_that_lie_too_densely_are_refused_before_they_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = _boxes(400, 1000)
    groups = np.zeros(len(boxes), np.int64)
    monkeypatch.setattr(neighbours, "MOST_PAIRS", 1000)
    monkeypatch.setattr(neighbours, "_ranges", lambda first, last: pytest.fail("compared"))
    with pytest.raises(TooManyBoxesError, match=r"400 boxes .* more than 1000 pairs .* higher confidence"):
        list(overlapping_pairs(np.repeat(boxes[:1], 400, axis=0), groups))
