"""Boxes of overlapping tiles become one box an object."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from azaion_engine.errors import InvalidTensorError
from azaion_engine.results.detections import Detections
from azaion_engine.settings import Tiles
from azaion_engine.tiling import merging
from azaion_engine.tiling.grid import grid
from azaion_engine.tiling.merging import Merger, merge
from azaion_engine.tiling.tile import Tile

LEFT, RIGHT = Tile(0, 0, 100, 100), Tile(80, 0, 100, 100)
PICTURE = (100, 180)


def _found(tile: Tile, *rows: tuple[float, ...], turned: bool = False) -> Detections:
    """Boxes of a tile from rows x1, y1, x2, y2, confidence, class in pixels of the picture, cut to the tile.

    For `turned`, rows are centre x, centre y, width, height, angle, confidence, class; their boxes are not used.
    """
    array = np.array(sorted(rows, key=lambda row: -row[-2]), np.float32).reshape(-1, 7 if turned else 6)
    oriented = None
    if turned:
        oriented = (array[:, :5] - [tile.x, tile.y, 0, 0, 0]).astype(np.float32)
        reach = array[:, 2:4].max(axis=1, keepdims=True) / 2
        boxes = np.concatenate([array[:, :2] - reach, array[:, :2] + reach], axis=1)
    else:
        boxes = array[:, :4]
    boxes = np.clip(boxes - [tile.x, tile.y] * 2, 0, [tile.width, tile.height] * 2).astype(np.float32)
    confidences, classes = array[:, -2].copy(), array[:, -1].astype(np.int64)
    return Detections(boxes, confidences, classes, tile.width, tile.height, {0: "car"}, oriented)


def _merged(*parts: tuple[Tile, Detections], **settings: Any) -> list[tuple[float, ...]]:
    found = merge(parts, PICTURE, Tiles(**settings))
    assert (found.picture_height, found.picture_width) == PICTURE
    rows = zip(found.boxes.tolist(), found.confidences.tolist(), found.class_ids.tolist(), strict=True)
    return [(*box, round(confidence, 4), class_id) for box, confidence, class_id in rows]


def test_an_object_in_two_tiles_is_one_box() -> None:
    one, again = (84, 10, 96, 30, 0.9, 0), (84.5, 10, 96, 30.5, 0.8, 0)
    assert _merged((LEFT, _found(LEFT, one)), (RIGHT, _found(RIGHT, again))) == [one]


def test_boxes_are_in_pixels_of_the_picture_and_most_confident_first() -> None:
    left, right = (10, 10, 20, 20, 0.5, 0), (150, 40, 170, 60, 0.75, 1)
    assert _merged((LEFT, _found(LEFT, left)), (RIGHT, _found(RIGHT, right))) == [right, left]


@pytest.mark.parametrize(("merge_", "confidence"), [("greedy", 0.9), ("suppress", 0.5)])
def test_a_box_cut_by_an_inner_border_gives_way_to_the_whole_one(merge_: str, confidence: float) -> None:
    whole, part = (70, 10, 90, 30, 0.5, 0), (80, 10, 90, 30, 0.9, 0)
    found = _merged((LEFT, _found(LEFT, whole)), (RIGHT, _found(RIGHT, part)), merge=merge_)
    assert found == [(70, 10, 90, 30, confidence, 0)]


def test_a_small_part_in_one_tile_gives_way_even_by_iou() -> None:
    whole, part = (50, 10, 84, 30, 0.5, 0), (80, 10, 84, 30, 0.9, 0)
    assert len(_merged((LEFT, _found(LEFT, whole)), (RIGHT, _found(RIGHT, part)), match="iou")) == 1


def test_a_box_at_the_border_of_the_picture_is_whole() -> None:
    at_border, inside = (150, 80, 180, 100, 0.9, 0), (150, 80, 178, 98, 0.6, 0)
    whole = Tile(0, 0, 180, 100)
    assert _merged((whole, _found(whole, inside)), (RIGHT, _found(RIGHT, at_border))) == [at_border]


def test_parts_of_an_object_that_no_tile_shows_whole_are_united() -> None:
    left, right = (60, 10, 100, 30, 0.7, 0), (80, 10, 130, 31, 0.8, 0)
    parts = ((LEFT, _found(LEFT, left)), (RIGHT, _found(RIGHT, right)))
    assert _merged(*parts) == [(60, 10, 130, 31, 0.8, 0)]
    assert _merged(*parts, merge="suppress") == [right]


def test_parts_in_three_tiles_are_united() -> None:
    tiles = [Tile(x, 0, 100, 100) for x in (0, 80, 160)]
    parts = [(tile, _found(tile, (50, 40, 240, 60, 0.6 + tile.x / 1000, 0))) for tile in tiles]
    found = merge(parts, (100, 260), Tiles())
    assert found.boxes.tolist() == [[50, 40, 240, 60]]
    assert found.confidences.tolist() == pytest.approx([0.76])


def test_two_objects_of_one_tile_are_never_united() -> None:
    upper, lower = (60, 10, 100, 30, 0.7, 0), (60, 22, 100, 42, 0.6, 0)
    both = (80, 10, 130, 42, 0.8, 0)  # the other tile sees one object there
    found = _merged((LEFT, _found(LEFT, upper, lower)), (RIGHT, _found(RIGHT, both)))
    assert len(found) == 2
    assert (60, 10, 130, 42, 0.8, 0) in found


def test_boxes_of_one_tile_are_not_compared() -> None:
    nested = ((84, 10, 98, 40, 0.9, 0), (85, 12, 95, 30, 0.8, 0))
    assert len(_merged((LEFT, _found(LEFT, *nested)), (RIGHT, _found(RIGHT)))) == 2


def test_neighbours_that_overlap_keep_their_boxes_where_both_tiles_show_both() -> None:
    near = ((82, 10, 92, 30, 0.9, 0), (86, 12, 97, 32, 0.8, 0))  # their IOS is above 0.5
    found = _merged((LEFT, _found(LEFT, *near)), (RIGHT, _found(RIGHT, *near)))
    assert found == list(near)


def test_boxes_of_other_classes_stay() -> None:
    one, other = (84, 10, 96, 30, 0.9, 0), (84, 10, 96, 30, 0.8, 1)
    assert _merged((LEFT, _found(LEFT, one)), (RIGHT, _found(RIGHT, other))) == [one, other]


@pytest.mark.parametrize(("match", "boxes"), [("ios", 1), ("iou", 2)])
def test_a_small_box_within_a_large_one_matches_by_ios_only(match: str, boxes: int) -> None:
    whole = Tile(0, 0, 180, 100)
    large, small = (10, 10, 90, 90, 0.9, 0), (30, 30, 50, 50, 0.5, 0)
    assert len(_merged((whole, _found(whole, large)), (LEFT, _found(LEFT, small)), match=match)) == boxes


@pytest.mark.parametrize(("threshold", "boxes"), [(0.6, 1), (0.7, 2)])
def test_boxes_match_above_the_threshold(threshold: float, boxes: int) -> None:
    one, other = (84, 10, 94, 30, 0.9, 0), (86, 10, 96, 30, 0.8, 0)  # IoU 2 / 3
    found = _merged((LEFT, _found(LEFT, one)), (RIGHT, _found(RIGHT, other)), match="iou", threshold=threshold)
    assert len(found) == boxes


def test_small_boxes_of_the_whole_picture_count_only_without_tiles() -> None:
    whole = Tile(0, 0, 180, 100)
    small, large = (30, 30, 45, 50, 0.9, 0), (60, 30, 100, 50, 0.8, 1)  # the overlap of the tiles is 20 pixels
    seen = (whole, _found(whole, small, large))
    assert _merged(seen, (LEFT, _found(LEFT)), (RIGHT, _found(RIGHT))) == [large]
    assert _merged(seen) == [small, large]


@pytest.mark.parametrize("settled_from", [1, 50_000])
def test_the_whole_picture_may_come_last(settled_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_SETTLED_FROM", settled_from)
    picture = Tile(0, 0, 100, 1000)
    tiles = grid(1000, 100, size=100, overlap=0.2)
    large, others = (20, 110, 90, 690), [(5, y, 15, y + 10, 0.7, 0) for y in (30, 330, 930)]
    merger = merging.Merger((1000, 100), Tiles())
    for tile in tiles:
        part = (20, max(110, tile.y), 90, min(690, tile.bottom), 0.9, 0)
        seen = [box for box in (part, *others) if tile.y <= box[1] and box[3] <= tile.bottom and box[3] - box[1] > 5]
        merger.add(tile, _found(tile, *seen))
    merger.add(picture, _found(picture, (*large, 0.8, 0), (5, 930, 15, 941, 0.95, 0)))
    found = merger.finish()
    assert sorted(found.boxes.tolist()) == sorted([list(map(float, large)), *(list(map(float, o[:4])) for o in others)])


def test_oriented_boxes_are_compared_by_their_own_areas() -> None:
    # The upright boxes around the two diagonals are equal; the diagonals cross in a small square.
    down, up = (90, 50, 17, 3, np.pi / 4, 0.9, 0), (90, 50, 17, 3, -np.pi / 4, 0.8, 0)
    parts = [(LEFT, _found(LEFT, down, turned=True)), (RIGHT, _found(RIGHT, down, up, turned=True))]
    found = merge(parts, PICTURE, Tiles())
    assert found.oriented is not None
    assert found.oriented.round(3).tolist() == [
        [90, 50, 17, 3, pytest.approx(0.785)],
        [90, 50, 17, 3, pytest.approx(-0.785)],
    ]
    assert np.allclose(found.boxes, [[90 - 50**0.5, 50 - 50**0.5, 90 + 50**0.5, 50 + 50**0.5]] * 2, atol=0.1)


def test_parts_of_an_oriented_box_are_united_along_its_own_axes() -> None:
    parts = [
        (LEFT, _found(LEFT, (75, 50, 60, 20, 0.0, 0.8, 0), turned=True)),
        (RIGHT, _found(RIGHT, (110, 50, 70, 20, np.pi, 0.7, 0), turned=True)),
    ]
    found = merge(parts, PICTURE, Tiles())
    assert found.oriented is not None
    assert np.allclose(found.oriented, [[95, 50, 100, 20, 0]], atol=1e-4)


def _scene(turned: bool = False) -> tuple[list[tuple[Tile, Detections]], np.ndarray]:
    """Objects apart from each other in a picture of 1000 × 1000, as the tiles of a grid show them."""
    rng = np.random.default_rng(5)
    corners = np.array([(x, y) for x in range(5, 960, 45) for y in range(5, 960, 45)]) + rng.uniform(0, 8, (484, 2))
    sides = rng.uniform(8, 30, corners.shape)
    parts = []
    for tile in grid(1000, 1000, size=200, overlap=0.2):
        visible = np.clip(
            np.concatenate([corners, corners + sides], axis=1), [tile.x, tile.y] * 2, [tile.right, tile.bottom] * 2
        )
        seen = (visible[:, 2:] - visible[:, :2] > 1).all(axis=1)
        rows = np.concatenate(
            [visible[seen], rng.uniform(0.3, 0.9, (seen.sum(), 1)), np.zeros((seen.sum(), 1))], axis=1
        )
        parts.append((tile, _found(tile, *map(tuple, rows.tolist()))))
    return parts, np.concatenate([corners, corners + sides], axis=1)


@pytest.mark.parametrize("merge_", ["greedy", "suppress"])
@pytest.mark.parametrize("match", ["ios", "iou"])
def test_every_object_of_a_scene_is_found_once_and_whole(merge_: Any, match: Any) -> None:
    parts, objects = _scene()
    assert sum(len(found) for _, found in parts) > 1.3 * len(objects)
    found = merge(parts, (1000, 1000), Tiles(merge=merge_, match=match))
    assert np.allclose(sorted(found.boxes.tolist()), sorted(objects.tolist()), atol=1e-3)
    assert (np.diff(found.confidences) <= 0).all()


def test_tiles_that_come_one_by_one_give_the_same_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, _ = _scene()
    expected = merge(reversed(parts), (1000, 1000), Tiles())
    monkeypatch.setattr(merging, "_SETTLED_FROM", 60)
    merger = Merger((1000, 1000), Tiles())
    waiting = []
    for tile, found in parts:
        merger.add(tile, found)
        waiting.append(merger._count)
    assert max(waiting) < sum(len(found) for _, found in parts) / 2
    found = merger.finish()
    assert sorted(found.boxes.tolist()) == sorted(expected.boxes.tolist())
    assert found.confidences.tolist() == expected.confidences.tolist()
    assert found.names == {0: "car"}


def test_no_boxes_are_no_boxes() -> None:
    assert _merged() == []
    assert _merged((LEFT, _found(LEFT)), (RIGHT, _found(RIGHT))) == []


def test_a_merger_refuses_tiles_that_go_up_and_boxes_of_another_size() -> None:
    merger = Merger((200, 180), Tiles())
    merger.add(Tile(0, 100, 100, 100), _found(LEFT))
    with pytest.raises(InvalidTensorError, match="from the top"):
        merger.add(LEFT, _found(LEFT))
    with pytest.raises(InvalidTensorError, match=r"expected boxes of Tile.*given those of 100×100"):
        merger.add(Tile(0, 100, 90, 100), _found(LEFT))


def _posed(tile: Tile, row: tuple[float, ...], *points: tuple[float, float, float]) -> Detections:
    """One box with keypoints, all in pixels of the picture."""
    found = _found(tile, row)
    moved = np.array([points], np.float32) - np.array([tile.x, tile.y, 0], np.float32)
    return replace(found, keypoints=moved)


def test_the_keypoints_of_the_box_that_is_kept_are_in_pixels_of_the_picture() -> None:
    whole = _posed(LEFT, (70, 10, 90, 30, 0.5, 0), (72, 12, 0.9), (88, 28, 0.4))
    part = _posed(RIGHT, (80, 10, 90, 30, 0.9, 0), (80, 12, 0.1), (87, 28, 0.8))
    alone = _posed(RIGHT, (150, 40, 170, 60, 0.4, 0), (151, 41, 0.5), (169, 59, 0.5))
    found = merge([(LEFT, whole), (RIGHT, part), (RIGHT, alone)], PICTURE, Tiles())
    assert found.keypoints is not None
    assert found.keypoints.round(3).tolist() == [
        [[72, 12, pytest.approx(0.9)], [88, 28, pytest.approx(0.4)]],
        [[151, 41, 0.5], [169, 59, 0.5]],
    ]


def test_united_parts_have_each_keypoint_of_the_part_that_sees_it_best() -> None:
    left = _posed(LEFT, (60, 40, 100, 60, 0.9, 0), (62, 50, 0.9), (100, 50, 0.1), (90, 44, 0.3))
    right = _posed(RIGHT, (80, 40, 140, 60, 0.8, 0), (80, 50, 0.2), (138, 51, 0.7), (91, 45, 0.6))
    found = merge([(LEFT, left), (RIGHT, right)], PICTURE, Tiles())
    assert found.boxes.tolist() == [[60, 40, 140, 60]]
    assert found.keypoints is not None
    assert found.keypoints[0, :, :2].tolist() == [[62, 50], [138, 51], [91, 45]]
    np.testing.assert_allclose(found.keypoints[0, :, 2], [0.9, 0.7, 0.6])
