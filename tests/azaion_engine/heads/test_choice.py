"""Choice: each signature is recognised, or refused with the settings that settle it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from azaion_engine import Detector, DetectorSettings
from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.model.file import sample_picture
from azaion_engine.pictures.input_form import InputForm
from tests.azaion_engine.heads.graphs import anchors_of, network, raw_values

SIZE = (64, 96)
ANCHORS = anchors_of(SIZE)
ULTRALYTICS = {"names": "{0: 'car', 1: 'van'}", "stride": "32", "task": "detect", "imgsz": "[64, 96]"}
YOLOX_FORM = InputForm(colour="bgr", scale=255, fit="top_left")

RAW = raw_values(6, ANCHORS, {3: [48, 32, 20, 10, 0.1, 0.9]})
WITH_OBJECTNESS = raw_values(7, ANCHORS, {3: [48, 32, 20, 10, 0.9, 0.1, 1.0]})
THREE_ANCHORS = np.tile(raw_values(6, ANCHORS, {3: [48, 32, 20, 10, 0.9, 1.0]}), 3)
ROWS = np.array([[38, 27, 58, 37, 0.9, 1]], np.float32)


def open_detector(tmp_path: Path, data: bytes, **settings: Any) -> Detector:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    return Detector.open(DetectorSettings(model=str(path), engine="onnx", **settings))


def found(detector: Detector, **wanted: Any) -> list[list[float]]:
    """Returns the sample picture's boxes in pixels of the network input, without padding or stretch undone."""
    [one] = detector.detect(sample_picture(), **wanted)
    picture = detector.prepare(sample_picture())
    return picture.letterbox.boxes_to_network(one.boxes).round(2).tolist()


RECOGNISED = {
    "ultralytics": (network({"output0": RAW}, SIZE, ULTRALYTICS), "yolo", InputForm()),
    "ultralytics, open shapes": (network({"output0": RAW}, SIZE, ULTRALYTICS, open_shapes=True), "yolo", InputForm()),
    "ultralytics, anchors first": (network({"output0": RAW.T}, SIZE, ULTRALYTICS), "yolo", InputForm()),
    "ultralytics without metadata": (network({"output0": RAW}, SIZE), "yolo", InputForm()),
    "yolov5": (
        network({"output0": THREE_ANCHORS.T}, SIZE, {"stride": "32", "names": "['car']"}),
        "yolov5",
        InputForm(),
    ),
    "yolov5 without metadata": (network({"output0": THREE_ANCHORS.T}, SIZE), "yolov5", InputForm()),
    "yolox, decoded": (network({"output": WITH_OBJECTNESS.T}, SIZE, operators=["Exp"]), "yolox", YOLOX_FORM),
    "yolox": (network({"output": WITH_OBJECTNESS.T}, SIZE), "yolox_grid", YOLOX_FORM),
    "rows": (network({"output0": ROWS}, SIZE, ULTRALYTICS), "rows", InputForm()),
    "rows beside others": (
        network({"output0": ROWS, "proto": np.zeros((2, 3, 3))}, SIZE, ULTRALYTICS),
        "rows",
        InputForm(),
    ),
    "channels last, bytes": (
        network({"output0": RAW}, SIZE, ULTRALYTICS, channels_last=True, dtype=TensorProto.UINT8),
        "yolo",
        InputForm(scale=255, layout="nhwc"),
    ),
}


@pytest.mark.parametrize("kind", RECOGNISED)
def test_a_signature_is_recognised_by_itself(tmp_path: Path, kind: str) -> None:
    data, head, form = RECOGNISED[kind]
    with open_detector(tmp_path, data) as detector:
        assert (detector.engine.head.name, detector.engine.input_form) == (head, form)
        if head != "yolox_grid":
            assert found(detector) == [[38, 27, 58, 37]]
        told = bool(detector.engine.notes)
        assert told == ("without" in kind or "yolox" in kind), "what the file does not say is told"


REFUSED = {
    "rows of nobody": (network({"output0": ROWS}, SIZE), "set `input`"),
    "scores": (network({"scores": np.zeros(10)}, SIZE), "no output is|classifier"),
    "confidence above 1": (network({"output0": ROWS * [1, 1, 1, 1, 90, 1]}, SIZE, ULTRALYTICS), "is not a confidence"),
    "classes with fractions": (
        network({"output0": np.add(ROWS, [0, 0, 0, 0, 0, 0.3])}, SIZE, ULTRALYTICS),
        "fractions",
    ),
    "boxes in parts": (network({"output0": ROWS / [96, 64, 96, 64, 1, 1]}, SIZE, ULTRALYTICS), "not in pixels"),
    "oriented": (network({"output0": np.zeros((5, 7))}, SIZE, {**ULTRALYTICS, "task": "obb"}), "oriented"),
    "segments": (network({"output0": np.zeros((5, 38))}, SIZE, {**ULTRALYTICS, "task": "segment"}), "`task: detect`"),
    "too few columns": (network({"output0": np.zeros((5, 4))}, SIZE, ULTRALYTICS), "known are rows"),
    "more columns": (network({"output0": np.zeros((5, 9))}, SIZE, ULTRALYTICS), "`task: detect`"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_known_is_refused_with_what_settles_it(tmp_path: Path, kind: str) -> None:
    data, words = REFUSED[kind]
    with pytest.raises(ModelError, match=words):
        open_detector(tmp_path, data)


def test_the_users_word_settles_rows_of_nobody(tmp_path: Path) -> None:
    data = network({"output0": ROWS}, SIZE)
    for keys, form in (({}, InputForm()), ({"colour": "bgr", "scale": 255}, InputForm(colour="bgr", scale=255))):
        with open_detector(tmp_path, data, input=keys) as detector:
            assert detector.engine.input_form == form
            assert found(detector) == [[38, 27, 58, 37]]


def test_the_boxes_alone_of_another_task_are_answered_on_the_users_word(tmp_path: Path) -> None:
    rows = np.pad(ROWS, ((0, 0), (0, 32)), constant_values=3)
    data = network({"output0": rows, "output1": np.zeros((32, 4, 4))}, SIZE, {**ULTRALYTICS, "task": "segment"})
    with open_detector(tmp_path, data, task="detect") as detector:
        assert found(detector) == [[38, 27, 58, 37]]


def test_the_head_of_the_settings_goes_before_what_the_file_looks_like(tmp_path: Path) -> None:
    data = network({"output0": WITH_OBJECTNESS.T}, SIZE, operators=["Exp"])
    with open_detector(tmp_path, data, head="yolov5", input={"fit": "stretch"}) as detector:
        assert (detector.engine.head.name, detector.engine.input_form) == ("yolov5", InputForm(fit="stretch"))
    with pytest.raises(ConfigurationError, match="nms_iou"):
        open_detector(tmp_path, network({"output0": ROWS}, SIZE, ULTRALYTICS), nms_iou=0.5)


def test_overlap_and_number_of_boxes_follow_the_settings(tmp_path: Path) -> None:
    near = raw_values(6, ANCHORS, {3: [48, 32, 20, 10, 0.1, 0.9], 4: [50, 32, 20, 10, 0.1, 0.8]})
    data = network({"output0": near}, SIZE, ULTRALYTICS)
    with open_detector(tmp_path, data) as detector:
        assert len(found(detector)) == 1
    with open_detector(tmp_path, data, nms_iou=0.95) as detector:
        assert len(found(detector)) == 2
        assert len(found(detector, confidence=0.85)) == 1
    with open_detector(tmp_path, data, nms_iou=0.95, max_detections=1) as detector:
        assert len(found(detector)) == 1


def test_a_low_confidence_of_one_request_reaches_the_head(tmp_path: Path) -> None:
    weak = raw_values(6, ANCHORS, {3: [48, 32, 20, 10, 0.1, 0.2]})
    with open_detector(tmp_path, network({"output0": weak}, SIZE, ULTRALYTICS)) as detector:
        assert found(detector) == []
        assert found(detector, confidence=0.1) == [[38, 27, 58, 37]]


def test_the_size_of_a_dynamic_model_is_the_one_it_was_trained_at(tmp_path: Path) -> None:
    data = network({"output0": RAW}, ("height", "width"), ULTRALYTICS)  # type: ignore[arg-type]
    with open_detector(tmp_path, data) as detector:
        assert detector.engine.get_input_shape() == SIZE
    with open_detector(tmp_path, data, height=128, width=128, head="yolo") as detector:
        assert detector.engine.get_input_shape() == (128, 128)
