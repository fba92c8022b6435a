"""EfficientNMS: the plugin is taken out of the model, and its boxes are suppressed as it would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from azaion_engine.detector import Detector
from azaion_engine.model.info import ModelInfo
from tests.azaion_engine import signatures as s

N = 20


def scored(background: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Boxes `[1, N, 4]` and scores `[1, N, classes]`; the first object twice."""
    boxes = np.full((1, N, 4), [1, 1, 5, 5], np.float32)
    scores = np.full((1, N, 3 + background), 0.01, np.float32)
    for place, box, confidence, class_id in zip((3, 4), s.BOXES, s.CONFIDENCES, s.CLASSES, strict=True):
        boxes[0, place], scores[0, place, class_id + background] = box, confidence
    boxes[0, 5], scores[0, 5] = boxes[0, 3], scores[0, 3] / 2
    if background:
        scores[0, :, 0] = 0.99
    return boxes, scores


def make(boxes: np.ndarray, scores: np.ndarray, after: bool = False, **attributes: float) -> bytes:
    model = onnx.load_model_from_string(s.make_model({"boxes": boxes, "scores": scores}))
    outputs = ["num_dets", "det_boxes", "det_scores", "det_classes"]
    node = helper.make_node("EfficientNMS_TRT", ["boxes", "scores"], outputs, domain="TRT", **attributes)
    model.graph.node.append(node)
    del model.graph.output[:]
    kinds = dict(zip(outputs, ((6, [1, 1]), (1, [1, 9, 4]), (1, [1, 9]), (6, [1, 9])), strict=True))
    for name, (kind, shape) in kinds.items():
        if after:
            model.graph.node.append(helper.make_node("Identity", [name], [f"{name}_out"]))
        model.graph.output.append(helper.make_tensor_value_info(f"{name}_out" if after else name, kind, shape))
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("case", ["corners", "centres", "logits", "background", "in 0..1", "a box for each class"])
def test_the_boxes_are_those_of_the_plugin(case: str, tmp_path: Path) -> None:
    boxes, scores = scored(case == "background")
    attributes: dict[str, float] = {"background_class": -1, "iou_threshold": 0.45, "score_threshold": 0.25}
    if case == "centres":
        boxes, attributes["box_coding"] = s.centred(boxes[0])[None], 1
    elif case == "logits":
        scores, attributes["score_activation"] = s.logit(scores), 1
    elif case == "background":
        attributes["background_class"] = 0
    elif case == "in 0..1":
        boxes = s.relative(boxes)
    elif case == "a box for each class":
        boxes = boxes[:, :, None]
    path = tmp_path / "model.onnx"
    path.write_bytes(make(boxes, scores, **attributes))
    with Detector.open(model=str(path), engine="onnx") as detector:
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-5)
    assert found.class_ids.tolist() == (s.CLASSES + (case == "background")).tolist()


def test_a_box_is_a_candidate_of_every_class_that_reaches_the_threshold(tmp_path: Path) -> None:
    boxes, scores = scored()
    scores[0, 3, 2] = 0.5
    path = tmp_path / "model.onnx"
    for agnostic, expected in ((0, [1, 0, 2]), (1, [1, 0])):
        path.write_bytes(make(boxes, scores, class_agnostic=agnostic))
        with Detector.open(model=str(path), engine="onnx") as detector:
            assert detector.detect([s.picture()])[0].class_ids.tolist() == expected


def test_the_plugin_s_overlap_holds_until_the_caller_names_one(tmp_path: Path) -> None:
    boxes, scores = scored()
    boxes[0, 5] += np.array([2, 0, 2, 0], np.float32)  # 0.82 of both
    path = tmp_path / "model.onnx"
    path.write_bytes(make(boxes, scores, iou_threshold=0.9))
    with Detector.open(model=str(path), engine="onnx") as detector:
        assert [len(detector.detect([s.picture()], iou=iou)[0]) for iou in (None, 0.45)] == [3, 2]


def test_a_model_that_goes_on_after_the_plugin_is_left_as_it_is() -> None:
    info = ModelInfo.from_onnx(make(*scored(), after=True))
    assert info.suppression is None
    assert [output.name for output in info.outputs] == [
        "num_dets_out",
        "det_boxes_out",
        "det_scores_out",
        "det_classes_out",
    ]
