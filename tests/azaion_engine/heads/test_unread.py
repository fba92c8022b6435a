"""Families that no head reads: refused in true words, and never answered as another family's boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.settings import HeadName
from tests.azaion_engine import signatures as s

Outputs = dict[str, NDArray[Any]]


def shares(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)


def offsets(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(0, 1, shape).astype(np.float32)


def levels(name: str, channels: int) -> Outputs:
    return {f"{name}_{step}": offsets(1, channels, s.HEIGHT // step, s.WIDTH // step) for step in s.STRIDES}


def nanodet_level(step: int) -> Outputs:
    cells = (s.HEIGHT // step) * (s.WIDTH // step)
    return {f"cls_{step}": shares(1, cells, 80), f"dis_{step}": offsets(1, cells, 32)}


MAPS: dict[str, tuple[Outputs, str]] = {
    "EfficientDet's maps": (levels("class", 27) | levels("box", 36), "EfficientDet, RetinaNet"),
    "CenterNet": (
        {"hm": shares(1, 80, 16, 24), "wh": shares(1, 2, 16, 24) * 20, "reg": shares(1, 2, 16, 24)},
        "CenterNet",
    ),
    "OpenVINO's DetectionOutput": ({"detection_out": shares(1, 1, 200, 7)}, "OpenVINO's DetectionOutput"),
}
PARTS: dict[str, tuple[Outputs, str]] = {
    "EfficientDet with its anchors": (
        {"regression": offsets(1, 500, 4), "classification": shares(1, 500, 90), "anchors": shares(1, 500, 4) * 60},
        "EfficientDet, NanoDet and FCOS",
    ),
    "NanoDet or PicoDet, each level": (nanodet_level(8) | nanodet_level(16) | nanodet_level(32), "NanoDet"),
    "NanoDet with classes and distances apart": (
        {"scores": shares(1, s.CELLS, 80), "distances": offsets(1, s.CELLS, 32)},
        "NanoDet",
    ),
    "the same, candidates last": ({"scores": shares(1, 80, s.CELLS), "boxes": offsets(1, 32, s.CELLS)}, "NanoDet"),
    "FCOS": (
        {"cls": shares(1, s.CELLS, 80), "reg": shares(1, s.CELLS, 4), "ctr": shares(1, s.CELLS, 1)},
        "FCOS",
    ),
}
NAMED = MAPS | PARTS


def refusal(outputs: Outputs, tmp_path: Path, **settings: Any) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(s.make_model(outputs))
    with pytest.raises((ModelError, ConfigurationError)) as refused, Detector.open(model=str(path), **settings):
        pass
    return str(refused.value)


@pytest.mark.parametrize(("outputs", "family"), NAMED.values(), ids=NAMED)
def test_the_family_is_named_and_no_key_that_does_not_help(outputs: Outputs, family: str, tmp_path: Path) -> None:
    told = refusal(outputs, tmp_path)
    assert family in told
    assert ("no value of the key `head` reads them" in told) == (family in [words for _, words in MAPS.values()])
    assert "rows of x1, y1, x2, y2, confidence, class in pixels" in told
    assert all(f"'{name}'" in told for name in outputs)


def test_the_key_head_reads_an_output_that_has_boxes_and_scores_together(tmp_path: Path) -> None:
    both = np.ascontiguousarray(s.candidates(s.CELLS, 3, objectness=0.95))
    outputs = {"both": both, "objectness": both[:, :, 4:5].copy()}
    assert "`head` if one output has boxes and scores together" in refusal(outputs, tmp_path)
    with Detector.open(model=str(tmp_path / "model.onnx"), head="yolov5") as detector:
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)


@pytest.mark.parametrize("head", get_args(HeadName))
@pytest.mark.parametrize("outputs", [outputs for outputs, _ in MAPS.values()], ids=MAPS)
def test_no_value_of_the_key_head_reads_maps(outputs: Outputs, head: str, tmp_path: Path) -> None:
    keys = {"head": head, "background": "none", "input": {"colour": "rgb"}}
    assert "needs other outputs than" in refusal(outputs, tmp_path, **keys)


def test_offsets_from_anchors_are_not_taken_for_boxes_with_the_keys_that_are_asked_for(tmp_path: Path) -> None:
    # EfficientDet with two outputs looks like SSD, whose boxes are decoded.
    outputs = {"class_out": offsets(1, 500, 90), "box_out": offsets(1, 500, 4)}
    assert "`background`" in refusal(outputs, tmp_path)
    assert "tried on a sample picture" in refusal(outputs, tmp_path, background="none", input={"colour": "rgb"})
    outputs["class_out"] = shares(1, 500, 90)
    assert "tried on a sample picture" in refusal(outputs, tmp_path, background="none", input={"colour": "rgb"})


@pytest.mark.parametrize("count", [s.CELLS, s.CELLS + 2])
def test_nanodet_s_distances_beside_its_scores_are_not_taken_for_boxes(count: int, tmp_path: Path) -> None:
    outputs = {"output": np.concatenate([shares(1, count, 80), offsets(1, count, 32)], axis=2)}
    told = refusal(outputs, tmp_path, input={"fit": "stretch"})
    assert "not " in told.split("tried on a sample picture: ")[1]


def test_the_rows_that_a_refusal_asks_for_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    # What was not read may stay in the file.
    path.write_bytes(s.make_model(levels("class", 27) | {"rows": s.rows()}))
    with Detector.open(model=str(path), input={"colour": "rgb"}) as detector:
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)


def numbered(*columns: NDArray[Any]) -> NDArray[np.float32]:
    """The number of the picture, then these columns, a row for each object."""
    return np.column_stack([np.zeros(2), *columns]).astype(np.float32)


@pytest.mark.parametrize("is_apart", [False, True])
def test_cells_of_a_map_are_not_taken_for_pixels(is_apart: bool, tmp_path: Path) -> None:
    # CenterNet's most confident cells, most of them of nearly no confidence, and all over the picture.
    corners = np.random.default_rng(1).uniform([0, 0], [80, 50], (100, 2))
    boxes = np.concatenate([corners, corners + 12], axis=1)
    scores = np.linspace(0.9, 0.001, 100)
    classes = np.arange(100) % 3

    def outputs(stride: int) -> Outputs:
        if is_apart:
            return {"boxes": (boxes[None] / stride).astype(np.float32), "scores": scores[None], "labels": classes[None]}
        return {"dets": np.column_stack([boxes / stride, scores, classes]).astype(np.float32)[None]}

    assert "in cells of a map" in refusal(outputs(4), tmp_path, input={"colour": "rgb"})
    (tmp_path / "model.onnx").write_bytes(s.make_model(outputs(1)))
    with Detector.open(model=str(tmp_path / "model.onnx"), input={"colour": "rgb"}) as detector:
        assert len(detector.detect(s.picture(), confidence=0.5)[0].boxes) > 10


def test_numbers_of_each_class_are_not_the_number_of_boxes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    outputs = {
        "boxes": s.BOXES[None],
        "scores": s.CONFIDENCES[None],
        "labels": s.CLASSES[None],
        "num_per_class": np.ones((1, 3), np.int32),
    }
    path.write_bytes(s.make_model(outputs))
    with Detector.open(model=str(path), input={"colour": "rgb"}) as detector:
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    # Names that say what they are.
    names = ("det_boxes", "det_scores", "det_classes", "num_dets")
    named = dict(zip(names, outputs.values(), strict=True))
    assert "has 3 numbers for 1 pictures" in refusal(named, tmp_path)


def test_classes_are_not_taken_for_confidences(tmp_path: Path) -> None:
    # As PINTO's model zoo has them: picture, class and corners; scores apart.
    rows, scores = numbered(s.CLASSES, s.BOXES), s.CONFIDENCES[:, None]
    for dtype in (np.int64, np.float32):
        for one in (rows, rows * np.array([1, 0, 1, 1, 1, 1])):  # only the first class
            outputs = {"batchno_classid_x1y1x2y2": one.astype(dtype), "score": scores}
            assert "`head`" in refusal(outputs, tmp_path, input={"colour": "rgb"})


def test_rows_without_a_batch_are_those_of_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    rows = numbered(s.BOXES, s.CLASSES, s.CONFIDENCES)
    path.write_bytes(s.make_model({"output": rows}, shapes={"output": ["n", 7]}, input_shape=[4, 3, 64, 96]))
    with pytest.raises(ModelError, match="fixed to 4, export it with a batch of 1"):
        Detector.open(model=str(path), engine="onnx", input={"colour": "rgb"})


@pytest.mark.parametrize("classes", [3, 8])
def test_scores_beside_boxes_are_not_taken_for_queries(classes: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    boxes = s.candidates(s.CELLS, 1)[0].T[None, :4].copy()
    outputs = {"boxes": boxes, "scores": shares(1, classes, s.CELLS)}
    assert "scores and distances or offsets apart" in refusal(outputs, tmp_path)
    # As ultralytics' file is cut by those who suppress boxes themselves; its metadata stays.
    metadata = {**s.METADATA, "names": str(dict(enumerate("abcdefgh"[:classes])))}
    path.write_bytes(s.make_model(outputs, metadata=metadata))
    with pytest.raises(ModelError, match=r"no known detection head|4 classes at most, but the metadata names class 7"):
        Detector.open(model=str(path), engine="onnx")


ODD: dict[str, tuple[Outputs, dict[str, list[str]], dict[str, Any]]] = {
    "one row whose shape is not said": ({"out": numbered(s.BOXES, s.CLASSES, s.CONFIDENCES)[:1]}, {"out": []}, {}),
    "boxes whose shape is not said": (
        {"logits": s.queries(3)[0], "pred_boxes": shares(1, 10)},
        {"pred_boxes": []},
        {"background": "none"},
    ),
    "queries whose boxes and scores are apart": (
        {"logits": s.queries(3)[0], "pred_boxes": s.queries(3)[1]},
        {},
        {"head": "rtdetr"},
    ),
    "no candidate": ({"b": shares(1, 0, 8), "a": shares(1, 378, 6)}, {"b": ["n", "m", "k"]}, {"head": "yolox_raw"}),
    "few candidates beside maps": (
        {"a": shares(1, 8, 5), "b": shares(1, 32, 16, 24)},
        {},
        {"head": "yolo", "task": "detect"},
    ),
    "more candidates than a DETR has classes, and few rows": ({"out": shares(1, 7, 500)}, {}, {}),
}


@pytest.mark.parametrize(("outputs", "shapes", "settings"), ODD.values(), ids=ODD)
def test_odd_shapes_are_refused_in_words(
    outputs: Outputs, shapes: dict[str, list[str]], settings: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load_model_from_string(s.make_model(outputs, shapes={k: v for k, v in shapes.items() if v}))
    for output in model.graph.output:
        if shapes.get(output.name) == []:
            output.type.tensor_type.ClearField("shape")
    path.write_bytes(model.SerializeToString())
    with (
        pytest.raises(ModelError),
        Detector.open(model=str(path), **{"input": {"colour": "rgb"}, **settings}) as detector,
    ):
        detector.detect([s.picture()])
