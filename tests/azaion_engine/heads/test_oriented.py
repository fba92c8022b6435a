"""Oriented heads: every signature gives the right boxes, or a refusal that names the keys with which it does."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from azaion_engine.detector import Detector
from azaion_engine.errors import AzaionError, ConfigurationError, InvalidParameterError, ModelError
from azaion_engine.geometry import largest_corner_difference
from azaion_engine.heads.oriented import OrientedRows, OrientedYolo, contradiction_of_oriented
from azaion_engine.pictures.prepared import Selection
from azaion_engine.results.detections import Detections
from tests.azaion_engine import signatures as s

OBB = {**s.METADATA, "task": "obb"}
RGB: dict[str, Any] = {"input": {"colour": "rgb"}}


def transposed() -> np.ndarray:
    return np.ascontiguousarray(s.oriented_candidates().transpose(0, 2, 1))


CASES: dict[str, tuple[Callable[[], bytes], str, dict[str, Any]]] = {
    "raw": (s.oriented_model, "oriented", {}),
    "rows": (lambda: s.oriented_model(raw=False), "oriented_rows", {}),
    "raw, candidates first": (
        lambda: s.make_model({"o": transposed()}, metadata={k: v for k, v in OBB.items() if k != "author"}),
        "oriented",
        {},
    ),
    "raw of any number": (
        lambda: s.make_model({"o": s.oriented_candidates()}, metadata=OBB, shapes={"o": [1, 8, "n"]}),
        "oriented",
        {},
    ),
    "raw of open shape": (
        lambda: s.make_model({"o": s.oriented_candidates()}, metadata=OBB, shapes={"o": ["b", "c", "n"]}),
        "oriented",
        {},
    ),
    "rows of open shape": (
        lambda: s.make_model({"o": s.oriented_rows()}, metadata=OBB, shapes={"o": ["b", "n", "c"]}),
        "oriented_rows",
        {},
    ),
    "raw, task by the user": (
        lambda: s.make_model({"o": s.oriented_candidates()}, metadata={**s.METADATA, "task": ""}),
        "oriented",
        {"task": "obb"},
    ),
    "raw without metadata": (lambda: s.make_model({"o": s.oriented_candidates()}), "oriented", {"task": "obb"}),
    "raw by its head": (lambda: s.make_model({"o": s.oriented_candidates()}), "oriented", {"head": "oriented"}),
    "rows without metadata": (lambda: s.make_model({"o": s.oriented_rows()}), "oriented_rows", RGB),
    "rows by their head": (
        lambda: s.make_model({"o": s.oriented_rows()}),
        "oriented_rows",
        {"head": "oriented_rows", **RGB},
    ),
}


def open_model(folder: Path, model: bytes, **settings: Any) -> Detector:
    path = folder / "model.onnx"
    path.write_bytes(model)
    return Detector.open(model=str(path), engine="onnx", **settings)


def assert_objects(found: Detections, scale: float = 2, shift: tuple[float, float] = (0, 0)) -> None:
    assert found.oriented is not None
    expected = s.ORIENTED * np.array([scale, scale, scale, scale, 1]) + np.array([*shift, 0, 0, 0])
    for box, one in zip(found.oriented, expected, strict=True):
        assert largest_corner_difference(box[None], one)[0] < 1e-3
    np.testing.assert_allclose(found.oriented[:, 4], s.ORIENTED[:, 4], atol=1e-6)
    np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-6)
    assert found.class_ids.tolist() == s.CLASSES.tolist()


@pytest.mark.parametrize(("make", "head", "settings"), CASES.values(), ids=CASES)
def test_the_boxes_are_right(make: Callable[[], bytes], head: str, settings: dict[str, Any], tmp_path: Path) -> None:
    with open_model(tmp_path, make(), **settings) as detector:
        assert detector.engine.choice.head.name == head
        [found] = detector.detect([s.picture()])
        assert_objects(found)


@pytest.mark.parametrize("raw", [True, False])
def test_the_border_of_a_letterbox_is_taken_off(raw: bool, tmp_path: Path) -> None:
    wide = np.zeros((s.HEIGHT, 2 * s.WIDTH, 3), np.uint8)  # 16 rows of border above and below
    with open_model(tmp_path, s.oriented_model(raw)) as detector:
        [found] = detector.detect([wide])
        assert_objects(found, shift=(0, -2 * 16))
    with open_model(tmp_path, s.oriented_model(raw), input={"fit": "top_left"}) as detector:
        [found] = detector.detect([wide])
        assert_objects(found)


def test_a_stretched_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"fit.*stretch.*parallelogram"):
        open_model(tmp_path, s.oriented_model(), input={"fit": "stretch"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "detect"}, "task: detect.*leave it out"),
        ({"head": "yolo"}, "head: yolo.*oriented"),
        ({"head": "end_to_end"}, "head: end_to_end.*oriented"),
        ({"head": "oriented_rows"}, "oriented_rows needs other outputs"),
    ],
)
def test_a_key_for_upright_boxes_is_refused(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        open_model(tmp_path, s.oriented_model(), **settings)


def tracked() -> np.ndarray:
    """Upright rows with the number of a track behind each."""
    return np.concatenate([s.rows(), np.arange(10, dtype=np.float32)[None, :, None]], axis=2)


REFUSED = {
    "fewer columns than classes": (
        lambda: s.make_model({"o": s.oriented_candidates(classes=2)}, metadata=OBB),
        {},
        "expected 8 columns",
    ),
    "an angle without its task": (
        lambda: s.make_model({"o": s.oriented_candidates()}, metadata={**s.METADATA, "task": ""}),
        {},
        "task: obb",
    ),
    "an angle of a file without metadata": (lambda: s.make_model({"o": s.oriented_candidates()}), {}, "task: obb"),
    "rows without metadata": (lambda: s.make_model({"o": s.oriented_rows()}), {}, "`input`"),
    "upright rows as oriented ones": (lambda: s.make_model({"o": s.rows()}), {"task": "obb"}, "no known|columns"),
    "upright rows with a column more": (lambda: s.make_model({"o": tracked()}), RGB, "may be corners"),
    "boxes in 0..1": (
        lambda: s.make_model({"o": s.oriented_rows() * np.array([0.01] * 4 + [1] * 3, np.float32)}),
        {"head": "oriented_rows", **RGB},
        "no coordinate is above 2",
    ),
}


@pytest.mark.parametrize(("make", "settings", "words"), REFUSED.values(), ids=REFUSED)
def test_what_only_the_user_can_know_is_asked_for(
    make: Callable[[], bytes], settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(AzaionError, match=words), open_model(tmp_path, make(), **settings) as detector:
        detector.detect([s.picture()])


def test_overlap_and_number_are_the_caller_s_of_raw_heads_only(tmp_path: Path) -> None:
    with open_model(tmp_path, s.oriented_model()) as detector:
        counts = [len(detector.detect([s.picture()], iou=iou)[0]) for iou in (None, 0.99)]
        assert counts == [2, 3]
        assert len(detector.detect([s.picture()], max_detections=1)[0]) == 1
    refused = pytest.raises(InvalidParameterError, match="iou")
    with open_model(tmp_path, s.oriented_model(raw=False)) as detector, refused:
        detector.detect([s.picture()], iou=0.5)


def test_class_ids_take_the_offset() -> None:
    outputs = {"raw": s.oriented_candidates(), "rows": s.oriented_rows()}
    for head in (OrientedYolo("raw", 3, class_offset=10), OrientedRows("rows", class_offset=10)):
        [rows] = head.rows(outputs, (s.HEIGHT, s.WIDTH), [Selection(0.55)])
        assert rows[:2, 5].tolist() == [11, 10]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [(5, 0.5, "fractions"), (5, -1.0, ""), (4, 1.7, "column 4"), (6, math.nan, "angle"), (6, 12.0, "")],
)
def test_rows_that_are_no_oriented_boxes_are_told(column: int, value: float, words: str) -> None:
    rows = s.oriented_rows()[0]
    assert contradiction_of_oriented(rows) == ""
    rows[0, column] = value
    fault = contradiction_of_oriented(rows)
    assert words in fault
    assert bool(words) == bool(fault)
