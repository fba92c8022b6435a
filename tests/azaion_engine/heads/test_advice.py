"""The advice of a refusal, followed, gives the right boxes of that very file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from azaion_engine.detector import Detector
from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.pictures.prepared import PreparedBatch
from azaion_engine.results.detections import Detections
from tests.azaion_engine import signatures as s

RGB: dict[str, Any] = {"input": {"colour": "rgb"}}


def raw(count: int = s.CELLS) -> np.ndarray:
    return np.ascontiguousarray(s.candidates(count, 3).transpose(0, 2, 1))


def refusal(path: Path, **settings: Any) -> str:
    with pytest.raises((ModelError, ConfigurationError)) as refused, Detector.open(model=str(path), **settings):
        pass
    return str(refused.value)


def detect(path: Path, **settings: Any) -> Detections:
    with Detector.open(model=str(path), **settings) as detector:
        [found] = detector.detect(s.picture(), confidence=0.25)
        return found


def assert_right(found: Detections) -> None:
    assert found.class_ids.tolist() == s.CLASSES.tolist()
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=0.05)
    np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-3)


@pytest.mark.parametrize(
    ("outputs", "head"),
    [
        pytest.param({"out": raw(500)}, "yolo", id="candidates of unusual strides"),
        pytest.param({"a": s.queries(3)[0], "b": s.queries(3)[1]}, "detr", id="logits and boxes of any name"),
    ],
)
def test_the_key_head_reads_an_unknown_file(outputs: dict[str, np.ndarray], head: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(s.make_model(outputs))
    # Each key that a message names gets a value, until there is no message.
    values = {"head": head, "background": "none", "input": {"colour": "rgb"}}
    settings: dict[str, Any] = {}
    for _ in values:
        told = refusal(path, **settings)
        named = {key: value for key, value in values.items() if f"`{key}`" in told and key not in settings}
        assert named
        settings |= named
        if "head" in settings:
            break
    assert_right(detect(path, **settings))


def rows_with(columns: int) -> dict[str, np.ndarray]:
    """End-to-end rows with mask coefficients or keypoints behind them, as Ultralytics' `nms=True` and YOLO26 give."""
    return {"output0": np.concatenate([s.rows(300), np.full((1, 300, columns), 3.3, np.float32)], axis=2)}


def raw_with(columns: int) -> dict[str, np.ndarray]:
    return {"output0": np.ascontiguousarray(s.candidates(s.CELLS, 3, extra=columns).transpose(0, 2, 1))}


PROTOTYPES = {"output1": np.ones((1, 32, 16, 24), np.float32)}


@pytest.mark.parametrize("prototypes_first", [False, True])
@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        pytest.param("segment", raw_with(32) | PROTOTYPES, id="masks, raw"),
        pytest.param("segment", rows_with(32) | PROTOTYPES, id="masks, suppressed or end to end"),
        pytest.param("pose", raw_with(51), id="keypoints, raw"),
        pytest.param("pose", rows_with(51), id="keypoints, suppressed or end to end"),
    ],
)
def test_the_task_that_a_refusal_names_gives_the_boxes_of_masks_and_keypoints(
    task: str, outputs: dict[str, np.ndarray], prototypes_first: bool, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    ordered = dict(reversed(outputs.items())) if prototypes_first else outputs
    path.write_bytes(s.make_model(ordered, metadata={**s.METADATA, "task": task}))
    [advice] = re.findall("`task: (.*?)`", refusal(path))
    assert_right(detect(path, task=advice))


@pytest.mark.parametrize("outputs", [raw_with(32) | PROTOTYPES, rows_with(32) | PROTOTYPES], ids=["raw", "rows"])
def test_masks_without_metadata_are_found_by_their_prototypes(outputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(s.make_model(outputs))
    [advice] = re.findall("`task: (.*?)`", refusal(path))
    assert_right(detect(path, task=advice, **RGB))


def test_the_task_that_a_refusal_names_gives_oriented_boxes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    metadata = {key: value for key, value in s.METADATA.items() if key != "task"}
    path.write_bytes(s.make_model({"output0": s.oriented_candidates()}, metadata=metadata))
    assert "`task: obb`" in refusal(path)
    assert detect(path, task="obb").class_ids.tolist() == s.CLASSES.tolist()


@pytest.mark.parametrize("settings", [{"task": "detect"}, {"head": "yolo"}])
def test_oriented_boxes_are_found_without_the_keys_that_must_be_left_out(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(s.oriented_model())
    assert "leave it out" in refusal(path, **settings)
    found = detect(path)
    assert found.oriented is not None
    assert found.class_ids.tolist() == s.CLASSES.tolist()
    assert detect(path, head="oriented").boxes.tolist() == found.boxes.tolist()


def test_oriented_boxes_are_found_with_a_fit_that_the_refusal_names(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(s.oriented_model())
    fits = re.findall(r"expected (\w+) or (\w+)", refusal(path, input={"fit": "stretch"}))
    assert fits == [("letterbox", "top_left")]
    for fit in fits[0]:
        assert detect(path, input={"fit": fit}).class_ids.tolist() == s.CLASSES.tolist()


@pytest.mark.parametrize("key", ["colour", "scale", "fit"])
def test_each_part_of_the_key_input_is_enough(key: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(s.make_model({"out": s.rows()}))
    assert key in refusal(path)
    value = {"colour": "rgb", "scale": 1 / 255, "fit": "letterbox"}[key]
    assert_right(detect(path, input={key: value}))


def test_detr_s_pictures_are_averaged_where_they_shrink_if_the_user_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    logits, boxes = s.queries(5)
    path.write_bytes(s.make_model({"logits": logits, "pred_boxes": boxes}))
    picture = s.picture()
    inputs = []
    for resampling in ("linear", "antialiased"):
        settings = {"background": "none", "input": {"resampling": resampling}}
        with Detector.open(model=str(path), **settings) as detector:
            assert ("antialiased" in detector.engine.choice.form.describe()) == (resampling == "antialiased")
            inputs.append(PreparedBatch([detector.prepare(picture)]).arrays)
    assert inputs[0] is not None
    assert inputs[1] is not None
    assert np.abs(inputs[0] - inputs[1]).max() > 0.1


@pytest.mark.parametrize("y_first", [False, True])
@pytest.mark.parametrize("head", ["named_outputs", "scored_boxes"])
def test_boxes_of_tensorflow_are_not_taken_for_corners_that_begin_with_x(
    head: str, y_first: bool, tmp_path: Path
) -> None:
    boxes = s.relative(s.BOXES)[None][..., [1, 0, 3, 2] if y_first else [0, 1, 2, 3]]
    outputs = {"boxes": boxes, "scores": s.CONFIDENCES[None], "classes": s.CLASSES[None].astype(np.float32)}
    if head == "scored_boxes":
        outputs = {"boxes": boxes, "scores": np.array([[[0.1, 0.9], [0.6, 0.1]]], np.float32)}
    path = tmp_path / "model.onnx"
    interleaved = {"input_shape": [1, s.HEIGHT, s.WIDTH, 3], "input_type": TensorProto.UINT8}
    path.write_bytes(
        s.make_model({name: np.ascontiguousarray(value) for name, value in outputs.items()}, **interleaved)
    )
    settings = {"background": "none", "input": {"fit": "stretch"}}
    assert f"`head: {head}` if boxes are x1, y1, x2, y2" in refusal(path, **settings)
    if not y_first:
        assert_right(detect(path, **settings, head=head))
    elif head == "named_outputs":
        names = {f"detection_{name}": np.ascontiguousarray(value) for name, value in outputs.items()}
        path.write_bytes(s.make_model(names, **interleaved))
        assert_right(detect(path, **settings))


def test_a_named_head_whose_scores_are_none_is_refused_before_the_first_picture(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(s.make_model({"output0": s.pose_candidates()}))  # keypoints in pixels look like classes
    assert "confidence from 0 to 1" in refusal(path, head="yolo")


def test_landmarks_before_the_classes_are_refused_before_the_first_picture(tmp_path: Path) -> None:
    face = s.candidates(3 * s.CELLS, 1, objectness=0.95)
    landmarks = np.random.default_rng(3).uniform(0, 90, (1, 3 * s.CELLS, 10)).astype(np.float32)
    output = np.concatenate([face[..., :5], landmarks, face[..., 5:]], axis=2)  # YOLOv5-face
    path = tmp_path / "model.onnx"
    path.write_bytes(s.make_model({"output": output}, metadata={"stride": "32", "names": "['face']"}))
    assert "`task: detect`" in refusal(path)
    assert "scores reach" in refusal(path, task="detect")
