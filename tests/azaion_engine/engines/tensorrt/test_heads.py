"""TensorRTEngine with heads other than end-to-end rows: the boxes of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from azaion_engine.detector import Detector
from azaion_engine.pictures.codec import encode_jpeg
from tests.azaion_engine import signatures as s
from tests.azaion_engine.fakes.fake_h200 import fake_h200
from tests.azaion_engine.heads.test_signatures import CASES, save

NAMES = (
    "raw YOLO",
    "YOLOv5",
    "YOLOX, undecoded",
    "RT-DETR of transformers",
    "a second input",
    "EfficientNMS",
    "mmdeploy",
    "TensorFlow",
    "NHWC",
)


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_the_boxes_of_every_family(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    model = save(tmp_path, case)
    pictures = [s.picture(), encode_jpeg(s.picture())]
    with (
        fake_h200(monkeypatch),
        Detector.open(
            model=model, engine="tensorrt", cache_dir=tmp_path, precision="fp32", batch_size=1, **case.settings
        ) as detector,
    ):
        assert detector.engine.choice.head.name == case.head
        assert case.form in detector.engine.choice.form.describe()
        for found in detector.detect(pictures):
            np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=0.05)
            np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-4)
            assert found.class_ids.tolist() == s.CLASSES.tolist()


def test_each_picture_of_a_batch_has_its_own_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        fake_h200(monkeypatch),
        Detector.open(
            model=save(tmp_path, CASES["raw YOLO"]), engine="tensorrt", cache_dir=tmp_path, precision="fp32"
        ) as detector,
    ):
        prepared = [
            detector.prepare(s.picture()),
            detector.prepare(s.picture(), iou=0.99),
            detector.prepare(s.picture(), max_detections=1),
            detector.prepare(s.picture(), confidence=0.7),
        ]
        assert [int((rows[:, 4] > 0).sum()) for rows in detector.infer(prepared)] == [2, 3, 1, 1]
