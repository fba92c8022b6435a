"""Detector: pictures to boxes, with the demo model on ONNX Runtime."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from azaion_engine import Detector, OnnxEngine
from azaion_engine.errors import ConfigurationError, InvalidParameterError, PictureError, UndecodablePictureError
from azaion_engine.model.file import SAMPLES, sample_picture
from azaion_engine.pictures.codec import decode, encode_jpeg
from tests.azaion_engine.models import make_detector


@pytest.fixture(scope="module")
def detector():
    with Detector.open(engine="onnx") as detector:
        yield detector


def test_the_demo_model_finds_what_is_in_the_samples(detector):
    first, second = detector.detect([sample_picture(name) for name in SAMPLES])
    assert Counter(box.class_name for box in first) == {"person": 42, "building": 14, "car": 12, "truck": 5}
    assert Counter(box.class_name for box in second) == {"person": 45, "car": 21, "truck": 7, "building": 1}
    assert (first.picture_width, first.picture_height) == (1600, 1216)


def test_boxes_lie_in_the_picture_most_confident_first(detector):
    [found] = detector.detect(sample_picture())
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, [0, 2]] <= 1600).all()
    assert (found.boxes[:, [1, 3]] <= 1216).all()
    assert (np.diff(found.confidences) <= 0).all()


def test_paths_bytes_and_arrays_give_the_same_boxes(detector, tmp_path):
    data = sample_picture(SAMPLES[1])
    (tmp_path / "a.jpg").write_bytes(data)
    by_bytes, by_path, by_text, by_array = detector.detect(
        [data, tmp_path / "a.jpg", str(tmp_path / "a.jpg"), decode(data)]
    )
    for other in (by_path, by_text, by_array):
        np.testing.assert_array_equal(other.boxes, by_bytes.boxes)


def test_a_turned_picture_gives_boxes_as_a_person_sees_it(detector):
    upright = decode(sample_picture(SAMPLES[1]))
    [as_is] = detector.detect(upright)
    [turned] = detector.detect(np.ascontiguousarray(np.rot90(upright)))
    assert (turned.picture_width, turned.picture_height) == (upright.shape[0], upright.shape[1])
    # Turned back, each clear box lies where it was.
    back = np.stack(
        [1280 - turned.boxes[:, 3], turned.boxes[:, 0], 1280 - turned.boxes[:, 1], turned.boxes[:, 2]], axis=1
    )
    clear = as_is.boxes[as_is.confidences > 0.8]
    apart = np.abs(clear[:, None] - back[None]).max(2).min(1)
    assert np.median(apart) < 4


def test_confidence_and_classes_narrow_the_answer(detector):
    picture = sample_picture()
    [everything] = detector.detect(picture)
    [sure] = detector.detect(picture, confidence=0.9)
    assert 0 < len(sure) < len(everything)
    [cars] = detector.detect(picture, classes=["Car"])
    assert {box.class_name for box in cars} == {"car"}
    [same] = detector.detect(picture, classes=[0])
    assert len(detector.detect(picture, classes="car")[0]) == len(detector.detect(bytearray(picture), classes=0)[0])
    assert len(same) == len(cars)


def test_bad_parameters_are_named(detector):
    with pytest.raises(InvalidParameterError, match=r"confidence.*1\.5"):
        detector.detect(sample_picture(), confidence=1.5)
    with pytest.raises(InvalidParameterError, match=r"confidence.*25"):
        Detector(detector.engine, confidence=25)
    with pytest.raises(InvalidParameterError, match="'tank'; it has 0 car, 1 truck"):
        detector.detect(sample_picture(), classes=["tank"])


def test_a_bad_picture_says_which_one_it_was(detector):
    with pytest.raises(UndecodablePictureError, match="picture 1"):
        detector.detect([sample_picture(), sample_picture()[:-5000]])
    for path in ("no/such/file.jpg", "a\0b.jpg"):
        with pytest.raises(PictureError, match="cannot read"):
            detector.detect(path)
    with pytest.raises(PictureError, match=r"float32 \[4, 4, 3\]"):
        detector.detect(np.zeros((4, 4, 3), np.float32))


def test_more_pictures_than_a_batch_are_all_answered(tmp_path):
    (tmp_path / "tiny.onnx").write_bytes(make_detector())
    with Detector.open(engine="onnx", model=str(tmp_path / "tiny.onnx"), batch_size=2, confidence=0) as detector:
        pictures = [encode_jpeg(np.full((40, 50, 3), grey, np.uint8)) for grey in range(0, 250, 50)]
        assert len(detector.detect(pictures)) == 5
        assert detector.detect([]) == []
        assert detector.model_name == "tiny"


def test_labels_from_a_file_replace_the_models_own(tmp_path):
    (tmp_path / "labels.txt").write_text("auto\nlaster\nhaus\nmensch\n")
    with Detector.open(engine="onnx", labels=tmp_path / "labels.txt") as detector:
        assert {box.class_name for box in detector.detect(sample_picture())[0]} <= {"auto", "laster", "haus", "mensch"}


def test_wrong_labels_are_told_before_an_engine_is_opened(monkeypatch):
    monkeypatch.setattr("azaion_engine.opening.model.open_engine", lambda *given: pytest.fail("opened"))
    with pytest.raises(ConfigurationError, match="nowhere"):
        Detector.open(engine="onnx", labels="nowhere.txt")


def test_an_engine_that_gets_no_detector_is_closed(monkeypatch):
    closed = []
    monkeypatch.setattr(OnnxEngine, "close", lambda engine: closed.append(engine))
    monkeypatch.setattr(OnnxEngine, "open_pictures", lambda engine: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Detector.open(engine="onnx")
    assert len(closed) == 1


def test_a_wrong_setting_or_model_is_refused_by_name(tmp_path):
    with pytest.raises(ValidationError, match="confidense"):
        Detector.open(confidense=0.3)
    with pytest.raises(ConfigurationError, match=r"best\.pt"):
        Detector.open(model="best.pt")
    for path in ("~nobody-at-all/best.onnx", "a\0b.onnx"):
        with pytest.raises(ConfigurationError, match="model: cannot read"):
            Detector.open(model=path)
    with pytest.raises(ConfigurationError, match=r"nowhere\.onnx"):
        Detector.open(model=str(tmp_path / "nowhere.onnx"))


def test_tensorrt_where_there_is_none_says_what_is_missing():
    with pytest.raises(ConfigurationError, match="engine: tensorrt cannot be used here"):
        Detector.open(engine="tensorrt")
