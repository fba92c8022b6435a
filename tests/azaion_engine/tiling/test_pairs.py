"""Boxes of the whole picture and of its tiles: the more exact one of an object ranks first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from azaion_engine.results.detections import Detections
from azaion_engine.settings import Tiles
from azaion_engine.tiling.merging import merge
from azaion_engine.tiling.tile import Tile

WHOLE, LEFT, RIGHT = Tile(0, 0, 180, 100), Tile(0, 0, 100, 100), Tile(80, 0, 100, 100)
PICTURE = (100, 180)
Row = tuple[float, float, float, float, float]


def _found(tile: Tile, *rows: Row) -> Detections:
    """Boxes of a tile from rows x1, y1, x2, y2, confidence in pixels of the picture, cut to the tile."""
    array = np.array(rows, np.float32).reshape(-1, 5)
    boxes = np.clip(array[:, :4] - [tile.x, tile.y] * 2, 0, [tile.width, tile.height] * 2).astype(np.float32)
    return Detections(boxes, array[:, 4].copy(), np.zeros(len(array), np.int64), tile.width, tile.height, {0: "car"})


def _turned(tile: Tile, x: float, y: float, width: float, height: float, confidence: float) -> Detections:
    """One upright box as an oriented one."""
    row = (x - width / 2, y - height / 2, x + width / 2, y + height / 2, confidence)
    oriented = np.array([[x - tile.x, y - tile.y, width, height, 0]], np.float32)
    return replace(_found(tile, row), oriented=oriented)


def _merged(whole: list[Row], left: list[Row], right: list[Row] | None = None, **settings: Any) -> list[Row]:
    parts = [(tile, _found(tile, *rows)) for tile, rows in ((WHOLE, whole), (LEFT, left), (RIGHT, right or [])) if rows]
    if right is None:
        parts.append((RIGHT, _found(RIGHT)))
    found = merge(parts, PICTURE, Tiles(**settings))
    return [(*box, round(one, 4)) for box, one in zip(found.boxes.tolist(), found.confidences.tolist(), strict=True)]


@pytest.mark.parametrize(("coarse_confidence", "exact_confidence"), [(0.8, 0.8), (0.9, 0.8), (0.7, 0.8)])
@pytest.mark.parametrize("match", ["ios", "iou"])
def test_a_tile_that_shows_an_object_whole_gives_its_box(
    coarse_confidence: float, exact_confidence: float, match: str
) -> None:
    coarse, exact = (12, 14, 68, 62, coarse_confidence), (10, 10, 70, 60, exact_confidence)
    kept = _merged([coarse], [exact], match=match, merge="suppress")
    assert kept == [exact]
    [(*box, confidence)] = _merged([coarse], [exact], match=match)
    assert box == [10, 10, 70, 60]
    assert confidence == max(coarse_confidence, exact_confidence)


def test_the_whole_picture_gives_the_box_of_an_object_that_tiles_cut() -> None:
    whole, left, right = (41, 20, 149, 61, 0.6), (40, 20, 100, 60, 0.9), (80, 20, 150, 60, 0.9)
    assert _merged([whole], [left], [right], merge="suppress") == [whole]
    assert _merged([whole], [left], [right]) == [(*whole[:4], 0.9)]


def test_the_part_of_an_object_that_ends_before_the_border_is_no_whole_object() -> None:
    whole, part = (20, 20, 112, 60, 0.6), (20, 20, 97, 60, 0.9)  # ends 3 pixels before the tile does
    assert _merged([whole], [part], merge="suppress") == [whole]


def test_a_tile_that_shows_whole_what_another_cuts_gives_its_box() -> None:
    whole, exact, cut = (14, 22, 92, 62, 0.9), (12, 20, 90, 60, 0.5), (80, 20, 90, 60, 0.8)
    assert _merged([whole], [exact], [cut], merge="suppress") == [exact]


def test_a_small_box_within_a_large_object_that_tiles_cut_gives_way() -> None:
    large, left, right = (20, 10, 160, 90, 0.6), (20, 10, 100, 90, 0.7), (80, 10, 160, 90, 0.7)
    inside = (30, 30, 60, 60, 0.95)
    assert _merged([large], [left, inside], [right], merge="suppress") == [large]


def test_small_objects_stay_under_a_large_box_that_no_tile_confirms() -> None:
    large, row = (10, 30, 170, 70, 0.4), [(x, 35.0, x + 15, 65.0, 0.9) for x in (20.0, 50.0)]
    assert _merged([large], row, merge="suppress") == row


def test_a_box_of_another_object_within_a_large_one_is_no_more_exact() -> None:
    large, inside = (10, 10, 90, 90, 0.9), (30, 30, 50, 50, 0.5)
    assert _merged([large], [inside], merge="suppress") == [large]


def test_the_tile_gives_oriented_boxes_that_it_shows_whole_and_the_whole_picture_those_that_it_cuts() -> None:
    settings = Tiles(merge="suppress")
    parts = [(WHOLE, _turned(WHOLE, 41, 40, 56, 22, 0.9)), (LEFT, _turned(LEFT, 40, 40, 60, 20, 0.8))]
    held = merge(parts, PICTURE, settings)
    assert held.oriented is not None
    assert held.oriented.tolist() == [[40, 40, 60, 20, 0]]
    parts = [(WHOLE, _turned(WHOLE, 66, 40, 92, 22, 0.7)), (LEFT, _turned(LEFT, 58, 40, 76, 20, 0.8))]
    reaching = merge(parts, PICTURE, settings)
    assert reaching.oriented is not None
    assert reaching.oriented.tolist() == [[66, 40, 92, 22, 0]]


def test_the_tile_gives_the_keypoints_of_an_object_that_it_shows_whole() -> None:
    points = np.array([[[30, 30, 0.4], [60, 50, 0.5]]], np.float32)
    parts = [
        (WHOLE, replace(_found(WHOLE, (12, 14, 68, 62, 0.9)), keypoints=np.add(points, [4, 4, 0.3]))),
        (LEFT, replace(_found(LEFT, (10, 10, 70, 60, 0.8)), keypoints=points)),
    ]
    found = merge(parts, PICTURE, Tiles())
    assert found.keypoints is not None
    np.testing.assert_array_equal(found.keypoints, points)


def test_the_order_of_the_tiles_does_not_matter_for_the_whole_picture() -> None:
    coarse, exact = (WHOLE, _found(WHOLE, (12, 14, 68, 62, 0.9))), (LEFT, _found(LEFT, (10, 10, 70, 60, 0.8)))
    assert merge([exact, coarse], PICTURE, Tiles()).boxes.tolist() == [[10, 10, 70, 60]]
    assert merge([coarse, exact], PICTURE, Tiles()).boxes.tolist() == [[10, 10, 70, 60]]
