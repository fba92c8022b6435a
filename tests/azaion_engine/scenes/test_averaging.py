"""A running average of windows is the whole scene at a small size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from azaion_engine.pictures.letterbox import PAD_VALUE
from azaion_engine.scenes.averaging import RunningAverage
from azaion_engine.tiling.grid import grid

SMOOTH = cv2.resize(np.random.default_rng(4).integers(0, 256, (9, 11, 3), np.uint8), (911, 703))


def averaged(
    scene: np.ndarray, size: tuple[int, int], valid: np.ndarray | None = None, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Averages a scene out of windows of 200 pixels that overlap."""
    height, width = scene.shape[:2]
    average = RunningAverage((height, width), size, scale)
    for tile in grid(height, width, size=200, overlap=0.2):
        part = np.s_[tile.y : tile.bottom, tile.x : tile.right]
        pixels, seen = scene[part], np.ones((tile.height, tile.width), bool) if valid is None else valid[part]
        if scale != 1:
            out = round(tile.width * scale), round(tile.height * scale)
            pixels = cv2.resize(pixels, out, interpolation=cv2.INTER_AREA)
            seen = cv2.resize(seen.view(np.uint8), out, interpolation=cv2.INTER_NEAREST) > 0
        average.add(tile, pixels, seen)
    return average.picture()


@pytest.mark.parametrize("factor", [2, 5, 20])
def test_cells_of_whole_pixels_are_exact_averages(factor: int) -> None:
    scene = np.random.default_rng(5).integers(0, 256, (600, 800, 3), np.uint8)
    # Windows begin at multiples of 160: no pixel of a cell is counted more often than another, but at the last window.
    picture, valid = averaged(scene, (600 // factor, 800 // factor))
    exact = scene.reshape(600 // factor, factor, 800 // factor, factor, 3).mean(axis=(1, 3))
    assert np.abs(picture - exact).max() <= 0.51
    assert valid.all()


@pytest.mark.parametrize(("size", "scale"), [((256, 256), 1.0), ((77, 100), 1.0), ((120, 160), 0.37), ((50, 64), 1.7)])
def test_any_size_is_close_to_an_average_by_area(size: tuple[int, int], scale: float) -> None:
    picture, valid = averaged(SMOOTH, size, scale=scale)
    assert picture.shape == (*size, 3)
    assert valid.all()
    exact = cv2.resize(SMOOTH, size[::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(picture - exact).mean() < 1.5
    assert np.abs(picture - exact).max() < 12


def test_parts_that_were_averaged_apart_make_the_same_picture() -> None:
    height, width = SMOOTH.shape[:2]
    whole, *parts = (RunningAverage((height, width), (70, 91)) for _ in range(4))
    for index, tile in enumerate(grid(height, width, size=200, overlap=0.2)):
        for average in (whole, parts[index % 2]):  # the third gets nothing
            average.add(tile, tile.of(SMOOTH), np.ones((tile.height, tile.width), bool))
    together = RunningAverage((height, width), (70, 91))
    for part in parts:
        together.add_part(part.part())
    assert (together.picture()[0] == whole.picture()[0]).all()
    assert (parts[0].picture()[0] != whole.picture()[0]).any()


def test_pixels_without_data_are_left_out() -> None:
    valid = np.ones(SMOOTH.shape[:2], bool)
    valid[:, :300] = False
    valid[::2] = False
    scene = np.where(valid[..., None], SMOOTH, np.uint8(255))
    picture, seen = averaged(scene, (70, 91), valid)
    assert not seen[:, :28].any()
    assert (picture[:, :28] == PAD_VALUE).all()
    assert seen[:, 31:].all()
    exact = cv2.resize(SMOOTH, (91, 70), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(picture - exact)[:, 31:].max() < 12
