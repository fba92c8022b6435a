"""Models that are no detectors, told by the shapes of their outputs and their metadata."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from azaion_engine.errors import ModelError
from azaion_engine.model.info import ModelInfo
from azaion_engine.model.other_task import other_task

PICTURE = (1, 3, 640, 640)
DYNAMIC = (-1, 3, -1, -1)

DETECTORS = {
    "rows": (PICTURE, [(1, 300, 6)]),
    "Ultralytics raw": (PICTURE, [(1, 84, 8400)]),
    "Ultralytics raw, dynamic": (DYNAMIC, [(-1, 84, -1)]),
    "Ultralytics segmentation with boxes": (PICTURE, [(1, 116, 8400), (1, 32, 160, 160)]),
    "YOLOv5": (PICTURE, [(1, 25200, 85)]),
    "raw maps of YOLOv5": (PICTURE, [(1, 3, 80, 80, 85), (1, 3, 40, 40, 85), (1, 3, 20, 20, 85)]),
    "raw maps of YOLOv3": (PICTURE, [(1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 20, 20)]),
    "one raw map of YOLOv2": ((1, 3, 416, 416), [(1, 125, 13, 13)]),
    "maps of CenterNet": ((1, 3, 512, 512), [(1, 80, 128, 128), (1, 2, 128, 128), (1, 2, 128, 128)]),
    "YOLOv7 with NMS": (PICTURE, [(-1, 7)]),
    "boxes of one picture": (DYNAMIC, [(-1, 6)]),
    "EfficientNMS": (PICTURE, [(1, 1), (1, 100, 4), (1, 100), (1, 100)]),
    "torchvision": (PICTURE, [(-1, 4), (-1,), (-1,)]),
    "DETR": (PICTURE, [(1, 100, 92), (1, 100, 4)]),
    "mmdeploy": (PICTURE, [(1, 100, 5), (1, 100)]),
    "unknown shape": (PICTURE, [()]),
}


@pytest.mark.parametrize(("picture", "outputs"), DETECTORS.values(), ids=DETECTORS)
def test_a_detector_is_not_taken_for_another_task(picture: tuple[int, ...], outputs: list[tuple[int, ...]]) -> None:
    assert other_task(picture, outputs, {"task": "detect"}) == ""


@pytest.mark.parametrize(
    ("picture", "outputs", "words"),
    [
        (PICTURE, [(1, 1000)], "a classifier, one row of scores for a picture ([1, 1000])"),
        (DYNAMIC, [(-1, 1000)], "a classifier, one row of scores for a picture ([?, 1000])"),
        (PICTURE, [(1, 6)], "a classifier"),
        (PICTURE, [(1, 1000, 1, 1)], "a classifier"),
        (PICTURE, [(1, 21, 640, 640)], "a segmentation model, a map of the picture ([1, 21, 640, 640])"),
        (PICTURE, [(1, 21, 640, 640), (1, 21, 640, 640)], "a segmentation model"),
        (PICTURE, [(1, 640, 640)], "a segmentation model"),
        (PICTURE, [(1, 150, 160, 160)], "a segmentation model"),
        ((1, 3, 512, 768), [(1, 19, 64, 96)], "a segmentation model"),
        (DYNAMIC, [(-1, 19, -1, -1)], "a segmentation model, a map of the picture ([?, 19, ?, ?])"),
    ],
)
def test_classifiers_and_segmentation_models_are_named(
    picture: tuple[int, ...], outputs: list[tuple[int, ...]], words: str
) -> None:
    task = other_task(picture, outputs, {})
    assert task.startswith(words)
    assert task.endswith("it has no boxes, a detector is needed")


@pytest.mark.parametrize(
    ("task", "word"), [("classify", "classifier"), ("semantic", "segmentation"), ("depth", "depth")]
)
def test_the_metadata_names_the_task_before_the_shapes_do(task: str, word: str) -> None:
    words = other_task(PICTURE, [(1, 300, 6)], {"task": task})
    assert word in words
    assert f"(task: {task} in its metadata)" in words


def test_a_classifier_is_refused_as_what_it_is() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["scores"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
    )
    model: onnx.ModelProto = helper.make_model(graph)
    with pytest.raises(ModelError, match=r"the model is a classifier, one row of scores for a picture \(\[1, 3\]\)"):
        ModelInfo.from_onnx(model.SerializeToString())
