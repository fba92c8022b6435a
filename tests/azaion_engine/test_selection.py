"""Detector: confidence, IoU and number of boxes of one call, and what the log tells of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from azaion_engine.detector import Detector
from azaion_engine.errors import ConfigurationError, InvalidParameterError
from azaion_engine.heads.detr import confident
from azaion_engine.pictures.prepared import Selection
from tests.azaion_engine import signatures as s
from tests.azaion_engine.heads.test_signatures import CASES, save

Open = Callable[..., Detector]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    made: list[Detector] = []

    def open_case(name: str, **settings: object) -> Detector:
        case = CASES[name]
        made.append(Detector.open(model=save(tmp_path, case), engine="onnx", **{**case.settings, **settings}))
        return made[-1]

    yield open_case
    for detector in made:
        detector.close()


def test_a_call_may_lower_the_confidence_below_the_detector_s(opened: Open) -> None:
    detector = opened("raw YOLO", confidence=0.7)
    assert [len(detector.detect([s.picture()], confidence=c)[0]) for c in (None, 0.5, 0.95)] == [1, 2, 0]


def test_iou_and_number_are_of_the_call_or_of_the_settings(opened: Open) -> None:
    detector = opened("raw YOLO")
    counts = [len(detector.detect([s.picture()], iou=iou)[0]) for iou in (None, 0.99, 0.0)]
    assert counts == [2, 3, 2]
    assert len(detector.detect([s.picture()], max_detections=1)[0]) == 1
    assert len(opened("raw YOLO", nms_iou=0.99).detect([s.picture()])[0]) == 3
    assert len(opened("raw YOLO", max_detections=1).detect([s.picture()])[0]) == 1


def test_a_model_that_has_suppressed_its_boxes_takes_no_iou_but_a_number(opened: Open) -> None:
    detector = opened("rows with metadata")
    with pytest.raises(InvalidParameterError, match=r"iou.*0\.5"):
        detector.detect([s.picture()], iou=0.5)
    [found] = detector.detect([s.picture()], max_detections=1)
    assert found.confidences.tolist() == pytest.approx([0.9])


def test_the_setting_bounds_the_boxes_of_a_head_that_selects_none_too(opened: Open) -> None:
    assert len(opened("rows with metadata").detect([s.picture()])[0]) == 2
    assert len(opened("rows with metadata", max_detections=1).detect([s.picture()])[0]) == 1


def test_who_wants_more_boxes_of_many_queries_gets_them() -> None:
    boxes = np.zeros((700, 4), np.float32)
    confidences = np.linspace(1, 0.1, 700, dtype=np.float32)
    rows = confident(boxes, confidences, np.zeros(700, np.float32), None)
    assert len(rows) == 700
    assert len(confident(boxes, confidences, np.zeros(700, np.float32), Selection(0.5))) == 300


@pytest.mark.parametrize(("wrong", "word"), [({"iou": 1.5}, "iou"), ({"max_detections": 0}, "max_detections")])
def test_a_number_out_of_range_is_refused_by_name(opened: Open, wrong: dict[str, float], word: str) -> None:
    with pytest.raises(InvalidParameterError, match=word):
        opened("raw YOLO").detect([s.picture()], **wrong)  # type: ignore[arg-type]


def test_the_log_tells_what_was_taken_for_granted(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    opened("YOLOX, undecoded")
    assert "BGR 0..255, top-left" in caplog.text
    assert "the file does not say" in caplog.text
    caplog.clear()
    opened("raw YOLO")
    assert not caplog.text, "an Ultralytics export says it all"


def test_the_log_tells_which_settings_the_model_cannot_follow(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    opened("rows with metadata", height=640, batch_size=4, nms_iou=0.5)
    for words in (f"height: 640 is not followed, the model's input is fixed to {s.HEIGHT}", "batch_size: 4", "nms_iou"):
        assert words in caplog.text
    assert "width" not in caplog.text


def test_a_baked_confidence_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.onnx"
    metadata = {**s.METADATA, "args": "{'nms': True, 'conf': None}"}
    path.write_bytes(s.make_model({"output0": s.rows()}, metadata=metadata))
    Detector.open(model=str(path), engine="onnx").close()
    assert "dropped boxes below confidence 0.25" in caplog.text


def test_a_key_that_the_file_contradicts_is_refused(opened: Open) -> None:
    with pytest.raises(ConfigurationError, match=r"input\.layout.*nhwc.*nchw"):
        opened("NHWC", input={"layout": "nchw"})
    with pytest.raises(ConfigurationError, match=r"input\.scale.*uint8"):
        opened("TensorFlow", input={"fit": "stretch", "scale": "1/255"})
