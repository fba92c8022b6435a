"""Pose models: the keypoints of each box, in pixels of the picture; refused if the file does not say how many."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from azaion_engine.detector import Detector
from azaion_engine.errors import ModelError
from azaion_engine.heads.base import Keypoints
from azaion_engine.heads.yolo import RawYolo
from azaion_engine.results.detections import Detections
from tests.azaion_engine import signatures as s

POSE = {**s.METADATA, "task": "pose", "kpt_shape": "[3, 3]"}

CASES: dict[str, tuple[Callable[[], bytes], str, dict[str, Any]]] = {
    "raw": (s.pose_model, "yolo", {}),
    "rows": (lambda: s.pose_model(raw=False), "end_to_end", {}),
    "raw without visibility": (lambda: s.pose_model(values=2), "yolo", {}),
    "rows without visibility": (lambda: s.pose_model(raw=False, values=2), "end_to_end", {}),
    "raw of any number": (
        lambda: s.make_model({"o": s.pose_candidates()}, metadata=POSE, shapes={"o": [1, 16, "n"]}),
        "yolo",
        {},
    ),
    "rows of open shape": (
        lambda: s.make_model({"o": s.pose_rows()}, metadata=POSE, shapes={"o": ["b", "n", "c"]}),
        "end_to_end",
        {},
    ),
    "raw by its head": (s.pose_model, "yolo", {"head": "yolo"}),
    "rows by their head": (lambda: s.pose_model(raw=False), "end_to_end", {"head": "end_to_end"}),
    "classes moved by the user": (lambda: s.pose_model(raw=False), "end_to_end", {"class_offset": 0}),
}


def open_model(folder: Path, model: bytes, **settings: Any) -> Detector:
    path = folder / "model.onnx"
    path.write_bytes(model)
    return Detector.open(model=str(path), engine="onnx", **settings)


def assert_objects(found: Detections, case: str = "", shift: tuple[float, float] = (0, 0)) -> None:
    move = np.array([*shift, 0], np.float32)
    expected = s.KEYPOINTS * np.array([2, 2, 1], np.float32) + move
    if "without visibility" in case:
        expected[:, :, 2] = 1
    np.testing.assert_allclose(found.keypoints, expected, atol=1e-3)
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES + move[[0, 1, 0, 1]], atol=1e-3)
    np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-6)
    assert found.class_ids.tolist() == s.CLASSES.tolist()


@pytest.mark.parametrize("case", CASES)
def test_the_keypoints_are_right(case: str, tmp_path: Path) -> None:
    make, head, settings = CASES[case]
    with open_model(tmp_path, make(), **settings) as detector:
        choice = detector.engine.choice
        assert (choice.head.name, choice.head.row_columns) == (head, 15)
        assert "3 keypoints" in choice.family
        for found in detector.detect([s.picture()] * 2):
            assert_objects(found, case)


def test_the_border_of_a_letterbox_is_taken_off_and_keypoints_stay_inside(tmp_path: Path) -> None:
    wide = np.zeros((s.HEIGHT, 2 * s.WIDTH, 3), np.uint8)  # 16 rows of border above and below
    with open_model(tmp_path, s.pose_model()) as detector:
        [found] = detector.detect([wide])
        assert found.keypoints is not None
        expected = s.KEYPOINTS * np.array([2, 2, 1]) - np.array([0, 32, 0])
        np.testing.assert_allclose(found.keypoints, np.maximum(expected, 0).clip(max=[192, 64, 1]), atol=1e-3)
        assert (expected[:, :, 1] < 0).any()


def test_a_stretched_picture_has_each_axis_scaled_by_its_own(tmp_path: Path) -> None:
    with open_model(tmp_path, s.pose_model(), input={"fit": "stretch"}) as detector:
        [found] = detector.detect([np.zeros((s.HEIGHT, 4 * s.WIDTH, 3), np.uint8)])
        np.testing.assert_allclose(found.keypoints, s.KEYPOINTS * np.array([4, 1, 1]), atol=1e-3)


@pytest.mark.parametrize("raw", [True, False])
def test_boxes_keep_their_own_keypoints(raw: bool, tmp_path: Path) -> None:
    with open_model(tmp_path, s.pose_model(raw)) as detector:
        [found] = detector.detect([s.picture()], classes="car")
        np.testing.assert_allclose(found.keypoints, 2 * s.KEYPOINTS[1:] * [1, 1, 0.5], atol=1e-3)
        [found] = detector.detect([s.picture()], max_detections=1)
        np.testing.assert_allclose(found.keypoints, 2 * s.KEYPOINTS[:1] * [1, 1, 0.5], atol=1e-3)
        [none] = detector.detect([s.picture()], confidence=0.99)
        assert none.keypoints is not None
        assert none.keypoints.shape == (0, 3, 3)


def test_rows_keep_their_keypoints_where_the_network_does_not_sort() -> None:
    rows = s.pose_rows(2)[0, ::-1]
    found = Detections.from_rows(rows, _fitting(), s.NAMES)
    assert_objects(found)


def test_detections_survive_pickling_and_tell_keypoints_in_words() -> None:
    found = pickle.loads(pickle.dumps(Detections.from_rows(s.pose_rows(2)[0], _fitting(), s.NAMES)))
    assert_objects(found)
    first, second = found
    assert second.keypoints == tuple(map(tuple, found.keypoints[1].tolist()))
    assert found.to_dicts()[0]["keypoints"] == [[24, 18, 0.9], [56, 20, 0.2], [40, 46, 0.7]]
    upright = Detections.from_rows(s.rows()[0], _fitting(), s.NAMES)
    assert next(iter(upright)).keypoints is None
    assert "keypoints" not in upright.to_dicts()[0]
    assert first.angle is None


def test_only_visible_keypoints_are_drawn() -> None:
    found = Detections.from_rows(s.pose_rows(2)[0], _fitting(), s.NAMES)
    drawn = found.draw(np.zeros((2 * s.HEIGHT, 2 * s.WIDTH, 3), np.uint8))
    assert drawn[2 * 22, 2 * 55].any()  # 0.95
    assert drawn[2 * 30, 2 * 88].any()  # 0.6
    assert not drawn[2 * 58 - 3 : 2 * 58 - 1, 2 * 70 - 1 : 2 * 70 + 2].any()  # 0.1; the outline lies below


def _fitting() -> Any:
    from azaion_engine.pictures.letterbox import Letterbox

    return Letterbox.fit(2 * s.WIDTH, 2 * s.HEIGHT, s.HEIGHT, s.WIDTH)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"kpt_shape": ""}, r"how many keypoints.*`kpt_shape` such as \[17, 3\].*`task: detect`"),
        ({"kpt_shape": "[3, 4]"}, r"given \[3, 4\].*`task: detect`"),
        ({"kpt_shape": "import os"}, "given import os.*`task: detect`"),
        ({"kpt_shape": "[17, 3]"}, r"expected 5[78] columns: a box.*17 keypoints of 3 values.*`task: detect`"),
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_what_the_metadata_does_not_say_is_told_and_the_advice_gives_the_boxes(
    raw: bool, metadata: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=words):
        open_model(tmp_path, s.pose_model(raw, **metadata))
    with open_model(tmp_path, s.pose_model(raw, **metadata), task="detect") as detector:
        [found] = detector.detect([s.picture()])
        np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
        assert found.keypoints is None


def test_columns_that_are_no_visibility_contradict_keypoints() -> None:
    head = RawYolo("o", 1, keypoints=Keypoints(2))
    outputs = {"o": np.zeros((1, 11, 126), np.float32)}
    outputs["o"][0, :2], outputs["o"][0, 2:4] = 60, 20
    assert head.contradicts(outputs, (64, 96)) == ""
    outputs["o"][0, 10, 3] = 40
    assert "visibility" in head.contradicts(outputs, (64, 96))
