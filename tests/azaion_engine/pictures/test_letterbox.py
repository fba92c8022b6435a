"""Letterbox: compared with a simple reference, and boxes mapped to the network and back for any size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azaion_engine.errors import InvalidTensorError
from azaion_engine.pictures.letterbox import Letterbox

SIDE = st.integers(1, 9000)
NETWORK = st.integers(1, 2048)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 10000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Letterboxes step by step: aspect kept, centred, border of 114, an odd border wider at the right and bottom."""
    ratio = min(height / image.shape[0], width / image.shape[1])
    new = max(round(image.shape[1] * ratio), 1), max(round(image.shape[0] * ratio), 1)
    dw, dh = (width - new[0]) / 2, (height - new[1]) / 2
    if image.shape[1::-1] != new:
        image = cv2.resize(image, new, interpolation=cv2.INTER_LINEAR)
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))


@pytest.mark.parametrize(
    ("size", "network"),
    [
        ((1080, 1920), (640, 640)),
        ((1280, 1280), (1280, 1280)),
        ((720, 1280), (1280, 1280)),
        ((31, 47), (64, 96)),
        ((100, 333), (96, 160)),
        ((333, 100), (96, 160)),
        ((1, 1), (32, 32)),
        ((5000, 1), (64, 64)),
        ((1, 5000), (64, 64)),
        ((1, 70000), (64, 96)),
        ((17, 13), (1, 1)),
    ],
)
def test_pixels_are_those_of_the_convention(size: tuple[int, int], network: tuple[int, int]) -> None:
    image = picture(*size)
    box = Letterbox.fit(size[1], size[0], *network)
    expected = reference(image, *network)
    assert np.array_equal(box.apply(image), expected)
    floats = box.to_input(image)
    assert floats.dtype == np.float32
    assert floats.flags.c_contiguous
    assert np.array_equal(floats, expected.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=150, deadline=None)
def test_every_element_of_a_used_batch_row_is_overwritten(h: int, w: int, height: int, width: int) -> None:
    batch = np.full((3, 3, height, width), np.nan, np.float32)
    image = picture(h, w)
    box = Letterbox.fit(w, h, height, width)
    row = batch[1]
    assert box.to_input(image, out=row) is row
    assert np.array_equal(row, reference(image, height, width).transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert np.isnan(batch[[0, 2]]).all()


@given(SIDE, SIDE, NETWORK, NETWORK)
def test_the_picture_lies_centred_inside_the_network_input(w: int, h: int, height: int, width: int) -> None:
    box = Letterbox.fit(w, h, height, width)
    assert box.resized_width >= 1
    assert box.resized_height >= 1
    right = width - box.pad_left - box.resized_width
    below = height - box.pad_top - box.resized_height
    assert 0 <= right - box.pad_left <= 1
    assert 0 <= below - box.pad_top <= 1
    assert box.resized_width == width or box.resized_height == height


@given(SIDE, SIDE, NETWORK, NETWORK, st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5))
def test_boxes_come_back_where_they_were(
    w: int, h: int, height: int, width: int, corners: list[tuple[float, float, float, float]]
) -> None:
    box = Letterbox.fit(w, h, height, width)
    boxes = np.array(corners) * [w, h, w, h]
    back = box.boxes_to_picture(box.boxes_to_network(boxes))
    assert back.dtype == np.float32
    assert (np.abs(back - boxes) <= 1e-3 * np.array([w, h, w, h])).all()


@given(SIDE, SIDE, NETWORK, NETWORK)
def test_the_border_of_the_picture_maps_onto_itself(w: int, h: int, height: int, width: int) -> None:
    box = Letterbox.fit(w, h, height, width)
    edges = [[box.pad_left, box.pad_top, box.pad_left + box.resized_width, box.pad_top + box.resized_height]]
    assert np.allclose(box.boxes_to_picture(np.array(edges, np.float32)), [[0, 0, w, h]], rtol=1e-6, atol=1e-4)


@given(SIDE, SIDE, NETWORK, NETWORK, st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 4), max_size=5))
def test_boxes_are_clipped_to_the_picture(
    w: int, h: int, height: int, width: int, corners: list[tuple[float, float, float, float]]
) -> None:
    boxes = Letterbox.fit(w, h, height, width).boxes_to_picture(np.array(corners, np.float32).reshape(-1, 4))
    assert boxes.shape == (len(corners), 4)
    assert ((boxes >= 0) & (boxes <= np.array([w, h, w, h]))).all()


def test_a_drawn_rectangle_is_found_where_it_was() -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    image[60:120, 200:350] = 255
    box = Letterbox.fit(500, 300, 640, 640)
    ys, xs = np.nonzero(box.apply(image)[..., 0] > 180)
    found = box.boxes_to_picture(np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32))
    assert np.abs(found - [[200, 60, 350, 120]]).max() < 1.5


def test_a_picture_that_is_not_contiguous_is_taken() -> None:
    image = picture(40, 60)
    box = Letterbox.fit(60, 40, 32, 32)
    assert np.array_equal(box.to_input(image[..., ::-1]), box.to_input(np.ascontiguousarray(image[..., ::-1])))


def test_wrong_sizes_are_refused() -> None:
    box = Letterbox.fit(60, 40, 32, 32)
    with pytest.raises(InvalidTensorError, match="40, 60, 3"):
        box.apply(picture(60, 40))
    with pytest.raises(InvalidTensorError, match="float32"):
        box.to_input(picture(40, 60).astype(np.float32))  # type: ignore[arg-type]
    for out in (
        np.empty((3, 32, 33), np.float32),
        np.empty((3, 32, 32), np.float64),
        np.empty((32, 32, 3), np.float32).transpose(2, 0, 1),
    ):
        with pytest.raises(InvalidTensorError, match="out must be"):
            box.to_input(picture(40, 60), out=out)  # type: ignore[arg-type]
    with pytest.raises(InvalidTensorError, match="at least 1"):
        Letterbox.fit(0, 40, 32, 32)


@pytest.mark.parametrize("size", [(64, 64), (32, 48)])
def test_a_tile_of_a_larger_picture_gives_what_its_copy_gives(size):
    tile = np.random.default_rng(2).integers(0, 256, (100, 200, 3), np.uint8)[10:74, 20:84]
    letterbox = Letterbox.fit(64, 64, *size)
    np.testing.assert_array_equal(letterbox.to_input(tile), letterbox.to_input(tile.copy()))
    np.testing.assert_array_equal(letterbox.apply(tile), letterbox.apply(tile.copy()))
    reversed_ = tile[::-1, :, ::-1]
    np.testing.assert_array_equal(letterbox.to_input(reversed_), letterbox.to_input(reversed_.copy()))
