"""Antialiased resizing, against the filter written out for each pixel, and against Pillow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from azaion_engine.pictures import resizing
from azaion_engine.pictures.resizing import resize_antialiased, resizing_bytes


@pytest.mark.parametrize("size", [(40, 24), (100, 70), (173, 31), (7, 5), (61, 47), (300, 1)])
def test_it_is_pillow_s_bilinear_to_a_grey_level(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(size[0]).integers(0, 256, (47, 61, 3), np.uint8)
    found = resize_antialiased(pixels, *size)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    # Pillow may begin with the rows, which rounds differently.
    assert (found == expected).mean() > 0.7


def test_shrinking_by_four_averages_under_a_triangle() -> None:
    pixels = np.zeros((1, 16, 3), np.uint8)
    pixels[0, 6] = 255
    found = resize_antialiased(pixels, 4, 1)[0, :, 0]
    # Centres 2, 6, 10, 14; pixel 6's centre is at 6.5; the weights of a centre's eight pixels sum to 4.
    assert found.tolist() == [0, round(255 * (1 - 0.5 / 4) / 4), round(255 * (1 - 3.5 / 4) / 4), 0]


def test_the_same_size_is_the_same_picture() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 11, 3), np.uint8)
    np.testing.assert_array_equal(resize_antialiased(pixels, 11, 9), pixels)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((100_000, 3), 640),
        ((3, 100_000), 640),
        ((2000, 3000), 640),
        ((4000, 100), 320),
        ((50, 70), 640),
        ((9000, 9), 1280),
    ],
)
def test_the_memory_is_known_before_and_does_not_grow_with_the_longer_side(shape: tuple[int, int], size: int) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    resizing._weights.cache_clear()
    tracemalloc.start()
    try:
        resize_antialiased(pixels, size, size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    expected = resizing_bytes(shape[1], shape[0], size, size)
    assert peak <= expected < 250 * 2**20


@pytest.mark.parametrize("shape", [(9000, 20), (30, 8000)], ids=["tall", "wide"])
def test_a_side_that_is_averaged_before_is_pillow_s_to_two_grey_levels(shape: tuple[int, int]) -> None:
    small = np.random.default_rng(shape[0]).integers(0, 256, (shape[0] // 10, shape[1] // 10, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BILINEAR))
    found = resize_antialiased(pixels, 64, 64)
    expected = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected).max() <= 2
