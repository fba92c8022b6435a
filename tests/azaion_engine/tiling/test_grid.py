"""Grids cover every pixel with tiles of full size."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

from azaion_engine.errors import InvalidParameterError
from azaion_engine.tiling.grid import count_tiles, grid, iterate_grid
from azaion_engine.tiling.tile import Tile


@pytest.mark.parametrize(("height", "width"), [(1000, 1500), (641, 640), (1153, 1152), (2000, 641)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.75])
def test_tiles_of_full_size_cover_every_pixel_and_overlap(height: int, width: int, overlap: float) -> None:
    tiles = grid(height, width, size=640, overlap=overlap)
    covered = np.zeros((height, width), int)
    for tile in tiles:
        assert (tile.width, tile.height) == (640, 640)
        assert tile.of(covered).shape == (640, 640)
        tile.of(covered)[...] += 1
    assert covered.min() >= 1
    assert len(tiles) == len(set(tiles)) == count_tiles(height, width, size=640, overlap=overlap)
    for axis, length in (("x", width), ("y", height)):
        starts = sorted({getattr(tile, axis) for tile in tiles})
        assert starts[0] == 0
        assert starts[-1] == length - 640
        assert all(0 < after - before <= 640 - int(640 * overlap) for before, after in pairwise(starts))


def test_rows_come_from_the_top_and_columns_from_the_left() -> None:
    tiles = grid(1000, 1000, size=640, overlap=0.2)
    assert tiles == [Tile(0, 0, 640, 640), Tile(360, 0, 640, 640), Tile(0, 360, 640, 640), Tile(360, 360, 640, 640)]


def test_a_picture_smaller_than_a_tile_is_one_tile_of_its_own_size() -> None:
    assert grid(300, 500, size=640, overlap=0.2) == [Tile(0, 0, 500, 300)]
    assert grid(300, 1000, size=640, overlap=0) == [Tile(0, 0, 640, 300), Tile(360, 0, 640, 300)]


def test_height_and_width_of_tiles_may_differ() -> None:
    tiles = grid(1000, 1000, size=(500, 1000), overlap=0)
    assert tiles == [Tile(0, 0, 1000, 500), Tile(0, 500, 1000, 500)]


def test_a_huge_picture_is_counted_and_begun_without_making_its_tiles() -> None:
    assert count_tiles(60_000, 60_000, size=640, overlap=0.2) == 117**2
    assert count_tiles(2**40, 2**40, size=640, overlap=0.2) > 2**60
    assert len(list(islice(iterate_grid(2**40, 2**40, size=640, overlap=0.2), 3))) == 3


@pytest.mark.parametrize("wrong", [{"size": 0}, {"overlap": 0.76}, {"overlap": -0.1}, {"height": 0}])
def test_numbers_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    given = {"height": 100, "width": 100, "size": 64, "overlap": 0.2, **wrong}
    with pytest.raises(InvalidParameterError, match=r"tiles: .*given"):
        iterate_grid(**given)  # type: ignore[arg-type]
