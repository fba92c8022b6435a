"""Tests of the labelled scenes: both formats have the boxes of the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from azaion_engine.evaluation.reader import read_data_set
from demo.scenes.objects import CLASS_NAMES
from demo.scenes.scene import render_scene
from demo.training.evaluate import HELD_OUT_SEED
from demo.training.labelled import write_labelled


def test_both_formats_have_the_boxes_of_the_scene(tmp_path: Path) -> None:
    write_labelled(tmp_path, scenes=2, size=320)
    yolo = read_data_set(tmp_path)
    coco = read_data_set(tmp_path / "annotations/instances_val.json")
    assert yolo.names == coco.names == dict(enumerate(CLASS_NAMES))
    for index in range(2):
        scene = render_scene(HELD_OUT_SEED + index, 320, 320)
        for data in (yolo, coco):
            picture = data.pictures[index]
            assert (np.array(Image.open(picture.load())) == scene.picture).all()
            assert picture.labels.in_pixels(320, 320) == pytest.approx(scene.boxes[:, :4], abs=0.02)
            assert picture.labels.class_ids.tolist() == scene.boxes[:, 4].tolist()
