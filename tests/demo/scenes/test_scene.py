"""Tests of the scene renderer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")

from demo.scenes.brush import Brush, Pose
from demo.scenes.objects import make_car, make_person, make_truck
from demo.scenes.scene import LEAST_PIXELS, render_scene


def test_scene_is_deterministic() -> None:
    first, second = render_scene(5, 320, 256), render_scene(5, 320, 256)
    assert first.picture.shape == (256, 320, 3)
    assert first.picture.dtype == np.uint8
    assert np.array_equal(first.picture, second.picture)
    assert np.array_equal(first.boxes, second.boxes)
    assert not np.array_equal(first.picture, render_scene(6, 320, 256).picture)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_lie_inside_the_picture(seed: int) -> None:
    boxes = render_scene(seed, 384, 320).boxes
    assert boxes.dtype == np.float32
    assert boxes.ndim == 2
    assert boxes.shape[1] == 5
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 384).all()
    assert (boxes[:, 3] <= 320).all()
    assert (boxes[:, 2:4] - boxes[:, :2] >= LEAST_PIXELS).all()
    assert np.isin(boxes[:, 4], (0, 1, 2, 3)).all()


def test_every_class_occurs() -> None:
    labels = np.concatenate([render_scene(seed, 512, 512).boxes[:, 4] for seed in range(12)])
    assert set(labels.astype(int)) == {0, 1, 2, 3}


@pytest.mark.parametrize("make", [make_car, make_truck, make_person])
@pytest.mark.parametrize("heading", [0.0, 0.7, 2.0])
def test_box_is_tight(make, heading: float) -> None:  # type: ignore[no-untyped-def]
    """The box is the extent of the pixels that drawing changes, without the shadow."""
    picture = np.full((400, 400, 3), (255, 0, 255), np.uint8)
    brush = Brush(picture, 20.0, (1.0, 0.5), (0.1, 0.05), 0.05)
    item = make(np.random.default_rng(3), Pose(200.3, 199.6, heading, 20.0))
    item.cast(brush)
    item.draw(brush)
    rows, columns = np.nonzero((np.abs(picture.astype(int) - (255, 0, 255)) > 60).any(2))
    drawn = np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    assert np.abs(drawn - item.box).max() <= 1.25
