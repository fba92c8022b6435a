"""Every family's outputs give the right boxes, or a refusal that names the keys with which they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from azaion_engine.detector import Detector
from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.errors import ModelError
from azaion_engine.heads.choice import choose
from azaion_engine.model.info import ModelInfo
from azaion_engine.pictures.prepared import Selection
from azaion_engine.settings import DetectorSettings
from tests.azaion_engine import signatures as s

RGB: dict[str, Any] = {"input": {"colour": "rgb"}}
N = s.CELLS


@dataclass(frozen=True)
class Case:
    """A model, the head it must be recognised as, and the keys that it needs.

    Attributes:
        make: Makes the model.
        head: Name of the head.
        needs: Keys without which the model is refused, with the words that the refusal has.
        settings: Values of these keys, and others.
        form: Words of the input form.
        one_class: Whether the model has one class only.
        offset: Added to the class ids by the settings.
    """

    make: Callable[[], bytes]
    head: str
    needs: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    form: str = "RGB 0..1, letterbox"
    one_class: bool = False
    offset: int = 0


def ultralytics(**more: str) -> dict[str, str]:
    return {**s.METADATA, **more}


def filled(array: np.ndarray, count: int, value: float = 0) -> np.ndarray:
    """`[count, …]`, the rows beyond the array having this value."""
    return np.concatenate([array, np.full((count - len(array), *array.shape[1:]), value, array.dtype)])


def transposed(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 1))


def apart(**changed: Any) -> dict[str, np.ndarray]:
    """Boxes, scores and classes `[1, 2, …]`."""
    return {
        "boxes": s.BOXES[None],
        "scores": s.CONFIDENCES[None],
        "classes": s.CLASSES[None].astype(np.int64),
        **changed,
    }


def efficient_nms(count: int, boxes: np.ndarray = s.BOXES) -> dict[str, np.ndarray]:
    filler = np.zeros((count - 2, 4), np.float32)
    return {
        "num_dets": np.array([[2]], np.int32),
        "det_boxes": np.concatenate([boxes, filler])[None],
        # Rows beyond the count are rubbish.
        "det_scores": np.concatenate([s.CONFIDENCES, np.full(count - 2, 0.99, np.float32)])[None],
        "det_classes": np.concatenate([s.CLASSES, np.zeros(count - 2)]).astype(np.int32)[None],
    }


def tensorflow() -> dict[str, np.ndarray]:
    return {
        "num_detections": np.array([2], np.float32),
        "detection_scores": s.CONFIDENCES[None],
        "detection_boxes": s.relative(s.BOXES)[:, [1, 0, 3, 2]][None],
        "detection_classes": s.CLASSES[None].astype(np.float32),
    }


def rtdetr(ranked: bool) -> np.ndarray:
    logits, boxes = s.queries(3)
    scores = 1 / (1 + np.exp(-logits))
    if ranked:
        scores = np.stack([scores.max(axis=2), scores.argmax(axis=2)], axis=2)
    return np.concatenate([boxes, scores], axis=2, dtype=np.float32)


def queried(names: tuple[str, str], classes: int, softmax: bool = False, **options: Any) -> bytes:
    logits, boxes = s.shares(classes) if softmax else s.queries(classes)
    return s.make_model(dict(zip(names, (logits, boxes), strict=True)), **options)


def ssd(background: bool, **options: Any) -> bytes:
    return s.make_model(scored(background), **options)


def scored(background: bool = False) -> dict[str, np.ndarray]:
    """Boxes `[1, 20, 4]` with a score for each class, and with one that the first box suppresses."""
    scores = np.full((1, 20, 3), 0.01, np.float32)
    boxes = np.full((1, 20, 4), [1, 1, 5, 5], np.float32)
    for place, box, confidence, class_id in zip((3, 4), s.BOXES, s.CONFIDENCES, s.CLASSES, strict=True):
        scores[0, place, class_id + background] = confidence
        boxes[0, place] = box
    scores[0, 5], boxes[0, 5] = scores[0, 3] / 2, boxes[0, 3]
    return {"scores": scores, "boxes": boxes}


def numbered(*columns: np.ndarray) -> np.ndarray:
    """Rows `[2, n]` of these columns, after the number of the picture."""
    return np.column_stack([np.zeros(2), *columns]).astype(np.float32)


CASES = {
    "rows with metadata": Case(lambda: s.make_model({"output0": s.rows()}, metadata=s.METADATA), "end_to_end"),
    "rows without": Case(lambda: s.make_model({"out": s.rows()}), "end_to_end", ("input",), RGB),
    "rows of BGR": Case(
        lambda: s.make_model({"out": s.rows()}),
        "end_to_end",
        ("input",),
        {"input": {"colour": "bgr", "scale": 1}},
        "BGR 0..255, letterbox",
    ),
    "rows of the class first": Case(
        lambda: s.make_model({"out": np.ascontiguousarray(s.rows()[..., [5, 4, 0, 1, 2, 3]])}),
        "end_to_end",
        ("input",),
        RGB,
    ),
    "rows of the confidence last": Case(
        lambda: s.make_model({"out": np.ascontiguousarray(s.rows()[..., [0, 1, 2, 3, 5, 4]])}),
        "end_to_end",
        ("input",),
        RGB,
    ),
    "rows in 0..1": Case(
        lambda: s.make_model({"out": np.concatenate([s.relative(s.rows()[..., :4]), s.rows()[..., 4:]], axis=2)}),
        "end_to_end",
        ("input",),
        {"head": "end_to_end", **RGB},
    ),
    "rows whose number is open": Case(
        lambda: s.make_model({"out": s.rows()}, shapes={"out": [1, "n", 6]}), "end_to_end", ("input",), RGB
    ),
    "rows of open shape": Case(
        lambda: s.make_model({"out": s.rows()}, shapes={"out": ["b", "n", "c"]}), "end_to_end", ("input",), RGB
    ),
    "rows after other outputs": Case(
        lambda: s.make_model({"features": np.ones((2, 7), np.float32), "output0": s.rows()}, metadata=s.METADATA),
        "end_to_end",
    ),
    "rows as many as cells": Case(lambda: s.make_model({"out": s.rows(N)}), "end_to_end", ("input",), RGB),
    "raw YOLO": Case(lambda: s.make_model({"output0": transposed(s.candidates(N, 3))}, metadata=s.METADATA), "yolo"),
    "raw YOLO of open shape": Case(
        lambda: s.make_model(
            {"output0": transposed(s.candidates(N, 3))}, metadata=s.METADATA, shapes={"output0": ["b", 7, "anchors"]}
        ),
        "yolo",
    ),
    "raw YOLO without metadata": Case(lambda: s.make_model({"out": transposed(s.candidates(N, 3))}), "yolo"),
    "raw YOLO of one class": Case(
        lambda: s.make_model({"out": transposed(s.candidates(N, 1))}), "yolo", one_class=True
    ),
    "raw YOLO, transposed": Case(lambda: s.make_model({"out": s.candidates(N, 3)}, operators=["Softmax"]), "yolo"),
    "raw YOLO, transposed, two classes": Case(
        lambda: s.make_model({"out": s.candidates(N, 2)}, operators=["Softmax"]), "yolo"
    ),
    "masks": Case(
        lambda: s.make_model(
            {"output0": transposed(s.candidates(N, 3, extra=32)), "output1": np.ones((1, 32, 16, 24), np.float32)},
            metadata=ultralytics(task="segment"),
        ),
        "yolo",
        ("task: detect",),
        {"task": "detect"},
    ),
    "masks without metadata": Case(
        lambda: s.make_model(
            {"output0": transposed(s.candidates(N, 3, extra=32)), "output1": np.ones((1, 32, 16, 24), np.float32)}
        ),
        "yolo",
        ("task: detect",),
        {"task": "detect"},
    ),
    "keypoints": Case(
        lambda: s.make_model({"output0": transposed(s.candidates(N, 3, extra=51))}, metadata=ultralytics(task="pose")),
        "yolo",
        ("task: detect",),
        {"task": "detect"},
    ),
    "masks, suppressed": Case(
        lambda: s.make_model(
            {"output0": np.concatenate([s.rows(300), np.full((1, 300, 32), 3.3, np.float32)], axis=2)},
            metadata=ultralytics(task="segment"),
        ),
        "end_to_end",
        ("task: detect",),
        {"task": "detect"},
    ),
    "YOLOv5": Case(lambda: s.make_model({"output0": s.candidates(3 * N, 3, 0.95)}), "yolov5"),
    "YOLOv5 of one class": Case(
        lambda: s.make_model({"output0": s.candidates(3 * N, 1, 0.95)}), "yolov5", one_class=True
    ),
    "YOLOv6": Case(lambda: s.make_model({"outputs": s.candidates(N, 3, 1.0) + yolov6_objectness(N, 3)}), "yolov5"),
    "YOLOX, decoded": Case(
        lambda: s.make_model({"output": s.candidates(N, 3, 0.95)}, operators=["Exp"]),
        "yolox",
        form="BGR 0..255, top-left",
    ),
    "YOLOX, decoded, one class": Case(
        lambda: s.make_model({"output": s.candidates(N, 1, 0.95)}, operators=["Exp"]),
        "yolox",
        form="BGR 0..255, top-left",
        one_class=True,
    ),
    "YOLOX, undecoded": Case(
        lambda: s.make_model({"output": s.undecoded(s.candidates(N, 3, 0.95))}),
        "yolox_raw",
        form="BGR 0..255, top-left",
    ),
    "YOLOX of open shape": Case(
        lambda: s.make_model({"output": s.undecoded(s.candidates(N, 3, 0.95))}, shapes={"output": ["b", "n", "c"]}),
        "yolox_raw",
        form="BGR 0..255, top-left",
    ),
    "Ultralytics' RT-DETR": Case(
        lambda: s.make_model({"output0": rtdetr(False)}, metadata=ultralytics(head="RTDETRDecoder")),
        "rtdetr",
        form="RGB 0..1, stretch,",
    ),
    "Ultralytics' RT-DETR, six columns": Case(
        lambda: s.make_model({"output0": rtdetr(True)}, metadata=ultralytics(head="RTDETRDecoder")),
        "rtdetr",
        form="RGB 0..1, stretch,",
    ),
    "Ultralytics' RT-DETR, older": Case(
        lambda: s.make_model({"output0": rtdetr(False)}, metadata=s.METADATA, operators=["GridSample"]),
        "rtdetr",
        form="RGB 0..1, stretch,",
    ),
    "Ultralytics' RT-DETR without metadata": Case(
        lambda: s.make_model({"out": rtdetr(True)}),
        "rtdetr",
        ("input",),
        {"input": {"fit": "stretch"}},
        "RGB 0..1, stretch,",
    ),
    "boxes and scores of queries without metadata": Case(
        lambda: s.make_model({"out": rtdetr(False)}),
        "rtdetr",
        ("input",),
        {"input": {"fit": "stretch"}},
        "RGB 0..1, stretch,",
    ),
    "RT-DETR of transformers": Case(
        lambda: queried(("logits", "pred_boxes"), 3, operators=["GridSample", "TopK", "Conv"]),
        "detr",
        form="RGB 0..1, stretch antialiased",
    ),
    "RT-DETR of transformers, six classes": Case(
        lambda: queried(("logits", "pred_boxes"), 6, operators=["GridSample", "TopK", "Conv"]),
        "detr",
        form="RGB 0..1, stretch antialiased",
    ),
    "DETR": Case(
        lambda: queried(("logits", "pred_boxes"), 5, softmax=True),
        "detr",
        ("background",),
        {"background": "last"},
        "minus (0.485, 0.456, 0.406)",
    ),
    "RF-DETR": Case(
        lambda: queried(("labels", "dets"), 3),
        "detr",
        ("background",),
        {"background": "none"},
        "minus (0.485, 0.456, 0.406) over (0.229, 0.224, 0.225), stretch,",  # as rfdetr's `predict`, not antialiased
    ),
    "a second input": Case(
        lambda: s.make_model(apart_with_labels(), target_sizes=True),
        "named_outputs",
        form="RGB 0..1, stretch antialiased",
    ),
    "DEIMv2 with a transformer as its backbone": Case(
        lambda: s.make_model(apart_with_labels(), target_sizes=True, operators=["Conv", *["MatMul"] * 3]),
        "named_outputs",
        ("input",),
        {"input": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
        "minus (0.485, 0.456, 0.406) over (0.229, 0.224, 0.225), stretch antialiased",
    ),
    "EfficientNMS": Case(lambda: s.make_model(efficient_nms(9)), "named_outputs"),
    "EfficientNMS in 0..1": Case(lambda: s.make_model(efficient_nms(9, s.relative(s.BOXES))), "named_outputs"),
    "TensorFlow": Case(
        lambda: s.make_model(tensorflow(), input_shape=[1, s.HEIGHT, s.WIDTH, 3], input_type=TensorProto.UINT8),
        "named_outputs",
        ("input",),
        {"input": {"fit": "stretch"}},
        "RGB 0..255, stretch, NHWC uint8",
    ),
    "torchvision": Case(
        lambda: s.make_model(
            {"2315": s.BOXES, "2297": (s.CLASSES + 1).astype(np.int64), "2296": s.CONFIDENCES},
            input_shape=["batch", 3, s.HEIGHT, s.WIDTH],
        ),
        "named_outputs",
        ("input",),
        {"input": {"fit": "stretch"}, "class_offset": -1, "batch_size": 4},
        "RGB 0..1, stretch,",
    ),
    "torchvision without a batch": Case(
        lambda: s.make_model(
            {"boxes": s.BOXES, "labels": s.CLASSES.astype(np.int64), "scores": s.CONFIDENCES},
            input_shape=[3, s.HEIGHT, s.WIDTH],
        ),
        "named_outputs",
        ("input",),
        RGB,
        "RGB 0..1, stretch,",
    ),
    "mmdeploy": Case(
        lambda: s.make_model(
            {
                "labels": s.CLASSES[None].astype(np.int64),
                "dets": np.concatenate([s.BOXES, s.CONFIDENCES[:, None]], axis=1)[None],
            }
        ),
        "named_outputs",
        ("input",),
        {"input": {"colour": "bgr", "scale": 1, "mean": [103.53, 116.28, 123.675], "std": [57.4, 57.1, 58.4]}},
        "BGR 0..255 minus (103.53, 116.28, 123.675) over (57.4, 57.1, 58.4), stretch",
    ),
    "scores first": Case(
        lambda: s.make_model({name: apart()[name] for name in ("scores", "classes", "boxes")}),
        "named_outputs",
        ("input",),
        RGB,
        "RGB 0..1, stretch",
    ),
    "SSD": Case(
        lambda: ssd(background=True),
        "scored_boxes",
        ("background", "input"),
        {"background": "first", **RGB},
        "RGB 0..1, stretch",
    ),
    "scores of two classes and no background": Case(
        lambda: ssd(background=False),
        "scored_boxes",
        ("background", "input"),
        {"background": "none", **RGB},
        "RGB 0..1, stretch",
    ),
    "PP-YOLOE, scores transposed": Case(
        lambda: s.make_model({"concat": scored()["boxes"], "concat_1": transposed(scored()["scores"])}),
        "scored_boxes",
        ("background", "input"),
        {"background": "none", **RGB},
        "RGB 0..1, stretch",
    ),
    "YOLOv4, a dimension of 1": Case(
        lambda: s.make_model({"boxes": s.relative(scored()["boxes"][:, :, None]), "confs": scored()["scores"]}),
        "scored_boxes",
        ("background", "input"),
        {"background": "none", **RGB},
        "RGB 0..1, stretch",
    ),
    "scores of centred boxes": Case(
        lambda: s.make_model({"scores": 1 / (1 + np.exp(-s.queries(3)[0])), "boxes": s.queries(3)[1]}),
        "scored_boxes",
        ("background", "input"),
        {"background": "none", **RGB},
        "RGB 0..1, stretch",
    ),
    "TensorFlow, names with scope and port": Case(
        lambda: s.make_model(
            {f"StatefulPartitionedCall/{name}:0": value for name, value in tensorflow().items()},
            input_shape=[1, s.HEIGHT, s.WIDTH, 3],
            input_type=TensorProto.UINT8,
        ),
        "named_outputs",
        ("input",),
        {"input": {"fit": "stretch"}},
        "RGB 0..255, stretch, NHWC uint8",
    ),
    "EfficientNMS, names as TensorFlow's": Case(
        lambda: s.make_model(
            {
                "num_detections": np.array([[2]], np.int32),
                "detection_boxes": s.BOXES[None],
                "detection_scores": s.CONFIDENCES[None],
                "detection_classes": s.CLASSES[None].astype(np.int32),
            }
        ),
        "named_outputs",
        ("input",),
        RGB,
        "RGB 0..1, stretch",
    ),
    "mmdeploy, filled up": Case(
        lambda: s.make_model(
            {
                "dets": filled(np.concatenate([s.BOXES, s.CONFIDENCES[:, None]], axis=1), 6)[None],
                "labels": filled(s.CLASSES.astype(np.int64), 6, -1)[None],
            }
        ),
        "named_outputs",
        ("input",),
        {"confidence": 0.0, **RGB},
        "RGB 0..1, stretch",
    ),
    "YOLO-NAS, five boxes at most": Case(
        lambda: s.make_model(
            {
                "graph2_num_predictions": np.array([[2]], np.int64),
                "graph2_pred_boxes": filled(s.BOXES, 5, -1)[None],
                "graph2_pred_scores": filled(s.CONFIDENCES, 5, -1)[None],
                "graph2_pred_classes": filled(s.CLASSES.astype(np.int64), 5, -1)[None],
            }
        ),
        "named_outputs",
        ("input",),
        RGB,
        "RGB 0..1, stretch",
    ),
    "detectron2, the size of the picture too": Case(
        lambda: s.make_model(
            {"v1": s.BOXES, "v2": s.CLASSES.astype(np.int64), "v3": s.CONFIDENCES, "v4": np.array([64, 96], np.int64)},
            input_shape=[3, s.HEIGHT, s.WIDTH],
            shapes={"v1": ["n", 4], "v2": ["n"], "v3": ["n"]},
        ),
        "named_outputs",
        ("input",),
        RGB,
        "RGB 0..1, stretch",
    ),
    "scores and classes without a name": Case(
        lambda: s.make_model({"a": s.CLASSES[None].astype(np.float32), "b": s.CONFIDENCES[None], "c": s.BOXES[None]}),
        "named_outputs",
        ("input",),
        RGB,
        "RGB 0..1, stretch",
    ),
    "scores and classes with a dimension of 1": Case(
        lambda: s.make_model(
            apart(scores=s.CONFIDENCES[None, :, None], classes=s.CLASSES[None, :, None].astype(np.int64))
        ),
        "named_outputs",
        ("input",),
        RGB,
        "RGB 0..1, stretch",
    ),
    "YOLOv7 with suppression": Case(
        lambda: s.make_model({"output": numbered(s.BOXES, s.CLASSES, s.CONFIDENCES)}, shapes={"output": ["n", 7]}),
        "end_to_end",
        ("input",),
        RGB,
    ),
    "YOLO-NAS, flat": Case(
        lambda: s.make_model({"graph2_flat_predictions": numbered(s.BOXES, s.CONFIDENCES, s.CLASSES)}),
        "end_to_end",
        ("input",),
        RGB,
    ),
    "PaddleDetection": Case(
        lambda: s.make_model(
            {
                "multiclass_nms3_0.tmp_0": np.column_stack([s.CLASSES, s.CONFIDENCES, s.BOXES]).astype(np.float32),
                "multiclass_nms3_0.tmp_2": np.array([2], np.int32),
            },
            extras={"scale_factor": (TensorProto.FLOAT, [1, 2])},
        ),
        "end_to_end",
        ("input",),
        RGB,
        "RGB 0..1, stretch",
    ),
    "DETR with a mask": Case(
        lambda: queried(
            ("logits", "pred_boxes"),
            5,
            softmax=True,
            extras={"pixel_mask": (TensorProto.INT64, ["batch", s.HEIGHT, s.WIDTH])},
        ),
        "detr",
        ("background",),
        {"background": "last"},
        "minus (0.485, 0.456, 0.406)",
    ),
    "classes moved by the user": Case(
        lambda: s.make_model({"output0": s.rows()}, metadata=s.METADATA),
        "end_to_end",
        settings={"class_offset": 2},
        offset=2,
    ),
    "NHWC": Case(
        lambda: s.make_model({"output0": s.rows()}, metadata=s.METADATA, input_shape=["b", s.HEIGHT, s.WIDTH, 3]),
        "end_to_end",
        form="RGB 0..1, letterbox, NHWC float32",
    ),
}


def apart_with_labels() -> dict[str, np.ndarray]:
    return {
        "labels": s.CLASSES[None].astype(np.int64),
        "boxes": s.relative(s.BOXES)[None],
        "scores": s.CONFIDENCES[None],
    }


def yolov6_objectness(count: int, classes: int) -> np.ndarray:
    """What makes the objectness of every candidate 1."""
    more = np.zeros((1, count, 5 + classes), np.float32)
    more[0, :, 4] = 1 - s.candidates(count, classes, 1.0)[0, :, 4]
    return more


def save(tmp_path: Path, case: Case) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(case.make())
    return str(path)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_boxes_are_right(case: Case, tmp_path: Path) -> None:
    with Detector.open(model=save(tmp_path, case), engine="onnx", **case.settings) as detector:
        choice = detector.engine.choice
        assert (choice.head.name, choice.settled, choice.refusal) == (case.head, True, "")
        assert case.form in choice.form.describe()
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-5)
    expected = np.zeros_like(s.CLASSES) if case.one_class else s.CLASSES + case.offset
    assert found.class_ids.tolist() == expected.tolist()


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.needs], ids=[n for n, c in CASES.items() if c.needs])
def test_what_the_file_cannot_tell_is_asked_for_by_name(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        Detector.open(model=save(tmp_path, case), engine="onnx")
    for key in case.needs:
        assert f"`{key}`" in str(refused.value)


def test_several_pictures_get_the_boxes_of_each(tmp_path: Path) -> None:
    for name in ("torchvision", "raw YOLO", "a second input"):
        case = CASES[name]
        with Detector.open(model=save(tmp_path, case), engine="onnx", **case.settings) as detector:
            for found in detector.detect([s.picture()] * 3):
                np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)


IMPOSTORS: dict[str, tuple[list[float], dict[str, str], str]] = {
    "confidence in percent": ([1, 1, 1, 1, 100, 1], {}, "column 4"),
    "confidence in percent, with metadata": ([1, 1, 1, 1, 100, 1], s.METADATA, "column 4"),
    "fractional classes": ([1, 1, 1, 1, 1, 0.55], {}, "column 5"),
    "fractional classes, with metadata": ([1, 1, 1, 1, 1, 0.55], s.METADATA, "column 5"),
    "corners in 0..1, with metadata": ([1 / s.WIDTH, 1 / s.HEIGHT, 1 / s.WIDTH, 1 / s.HEIGHT, 1, 1], s.METADATA, "2"),
}


@pytest.mark.parametrize(("factors", "metadata", "why"), IMPOSTORS.values(), ids=IMPOSTORS)
def test_rows_that_are_no_boxes_are_never_answered(
    factors: list[float], metadata: dict[str, str], why: str, tmp_path: Path
) -> None:
    rows = s.rows()
    rows[0, 2:] = [1, 1, 9, 9, 0.05, 1]
    rows = rows * np.array(factors, np.float32)
    if factors[4] > 1:
        rows[..., 4] = np.rint(rows[..., 4])  # whole percents could be classes
    case = Case(lambda: s.make_model({"out": rows}, metadata=metadata), "")
    with (
        pytest.raises(ModelError, match=why),
        Detector.open(model=save(tmp_path, case), engine="onnx", **RGB) as detector,
    ):
        detector.detect([s.picture()])


@pytest.mark.parametrize("corner_first", [True, False])
def test_boxes_of_a_corner_or_a_centre_and_a_size_are_never_answered_as_corners(
    corner_first: bool, tmp_path: Path
) -> None:
    boxes = s.centred()
    if corner_first:
        boxes[:, :2] = s.BOXES[:, :2]
    rows = np.column_stack([boxes, s.CONFIDENCES, s.CLASSES]).astype(np.float32)[None]
    for outputs in (apart(boxes=boxes[None]), {"out": rows}):
        case = Case(lambda outputs=outputs: s.make_model(outputs), "")
        with pytest.raises(ModelError, match="may be centre and size"):
            Detector.open(model=save(tmp_path, case), engine="onnx", **RGB)


@pytest.mark.parametrize(
    ("columns", "extras", "family"),
    [
        (7, {}, "of YOLOv7"),
        (6, {}, "end-to-end rows without a batch"),
        (6, {"scale_factor": (TensorProto.FLOAT, [1, 2])}, "that begin with class and confidence"),
    ],
)
def test_a_sample_without_boxes_refuses_no_file(
    columns: int, extras: dict[str, Any], family: str, tmp_path: Path
) -> None:
    none = np.zeros((0, columns), np.float32)
    case = Case(lambda: s.make_model({"out": none}, shapes={"out": ["n", columns]}, extras=extras), "")
    with Detector.open(model=save(tmp_path, case), engine="onnx", **RGB) as detector:
        assert detector.engine.choice.family.endswith(family)
        assert len(detector.detect([s.picture()])[0].boxes) == 0


def test_rows_of_several_pictures_are_not_taken_for_those_of_one(tmp_path: Path) -> None:
    rows = numbered(s.BOXES, s.CLASSES, s.CONFIDENCES)
    rows[1, 0] = 1
    case = Case(lambda: s.make_model({"output": rows}, shapes={"output": ["n", 7]}), "")
    with pytest.raises(ModelError, match="number of a lone picture"):
        Detector.open(model=save(tmp_path, case), engine="onnx", **RGB)


def test_an_angle_or_keypoints_are_not_taken_for_classes(tmp_path: Path) -> None:
    for extra in (0.785, 40.0):  # radians within 0…1, pixels
        candidates = s.candidates(N, 3, extra=1)
        candidates[..., -1] = extra
        case = Case(lambda made=candidates: s.make_model({"output0": transposed(made)}), "")
        with pytest.raises(ModelError, match="Ultralytics' raw head"):
            Detector.open(model=save(tmp_path, case), engine="onnx")


def test_an_engine_whose_head_only_a_run_shows_answers_no_pictures_before(tmp_path: Path) -> None:
    with OnnxEngine(CASES["YOLOX, undecoded"].make()) as engine:
        batch = np.zeros((1, 3, s.HEIGHT, s.WIDTH), np.float32)
        assert engine.run(batch)[0].shape == (1, N, 8)
        with pytest.raises(ModelError, match="open_engine"):
            engine.run_arrays(batch)


KEYS = {
    "end_to_end": "rows of open shape",
    "yolo": "raw YOLO without metadata",
    "yolov5": "YOLOv5",
    "yolox": "YOLOX, decoded, one class",
    "yolox_raw": "YOLOX of open shape",
    "rtdetr": "Ultralytics' RT-DETR without metadata",
    "detr": "RT-DETR of transformers, six classes",
    "named_outputs": "scores first",
    "scored_boxes": "SSD",
}


def test_logits_and_boxes_of_any_name_are_a_detr_where_the_user_says_so(tmp_path: Path) -> None:
    model = save(tmp_path, Case(lambda: queried(("first", "second"), 5, softmax=True), ""))
    with pytest.raises(ModelError, match="`background`"):
        Detector.open(model=model, engine="onnx")
    with Detector.open(model=model, engine="onnx", head="detr", background="last") as detector:
        [found] = detector.detect([s.picture()])
        np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)


@pytest.mark.parametrize(("key", "name"), KEYS.items(), ids=KEYS)
def test_the_user_s_head_goes_before_what_is_recognised(key: str, name: str, tmp_path: Path) -> None:
    case = CASES[name]
    settings = {**RGB, **case.settings, "head": key}
    with Detector.open(model=save(tmp_path, case), engine="onnx", **settings) as detector:
        assert detector.engine.choice.head.name == key
        [found] = detector.detect([s.picture()])
        np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    other = "yolo" if key != "yolo" else "scored_boxes"
    with pytest.raises(ModelError):
        Detector.open(model=save(tmp_path, CASES["scores first"]), engine="onnx", **RGB, head=other)


@pytest.mark.parametrize("operators", [[], ["GridSample", "TopK", "Conv"]], ids=["DETR", "RT-DETR"])
def test_scores_are_not_taken_for_logits(operators: list[str], tmp_path: Path) -> None:
    logits, boxes = s.queries(3)
    outputs = {"logits": 1 / (1 + np.exp(-logits)), "pred_boxes": boxes}
    model = save(tmp_path, Case(lambda: s.make_model(outputs, operators=operators), ""))
    with pytest.raises(ModelError, match="`head: scored_boxes`"):
        Detector.open(model=model, engine="onnx", background="none")
    with Detector.open(model=model, engine="onnx", background="none", head="scored_boxes", **RGB) as detector:
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-5)


def test_queries_that_reach_beyond_the_picture_are_in_0_to_1_and_those_in_pixels_are_refused(tmp_path: Path) -> None:
    logits, boxes = s.queries(3)
    beyond = boxes.copy()
    beyond[0, -1] = [1.05, -0.1, 1.08, 0.2]  # as D-FINE and RF-DETR give for queries of nearly no confidence
    settings = {"engine": "onnx", "background": "none", "head": "detr", **RGB}
    model = save(tmp_path, Case(lambda: s.make_model({"logits": logits, "pred_boxes": beyond}), ""))
    with Detector.open(model=model, **settings) as detector:
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    model = save(tmp_path, Case(lambda: s.make_model({"logits": logits, "pred_boxes": beyond * s.WIDTH}), ""))
    with pytest.raises(ModelError, match="expected 0 to 1"):
        Detector.open(model=model, **settings)


@pytest.mark.parametrize("is_relative", [False, True])
@pytest.mark.parametrize("filler", [0, -1])
def test_coordinates_are_read_where_the_sample_had_no_boxes(is_relative: bool, filler: float) -> None:
    boxes = s.relative(s.BOXES) if is_relative else s.BOXES
    outputs = {
        "boxes": filled(boxes, 5, filler)[None],
        "scores": filled(s.CONFIDENCES, 5)[None],
        "labels": filled(s.CLASSES.astype(np.float32), 5)[None],
    }
    info = ModelInfo.from_onnx(s.make_model(outputs))
    nothing = {name: np.zeros_like(value) for name, value in outputs.items()} | {
        "boxes": np.full((1, 5, 4), filler, np.float32)
    }
    choice = choose(info.signature(s.HEIGHT, s.WIDTH), DetectorSettings(**RGB), nothing).checked()
    [rows] = choice.head.rows(outputs, (s.HEIGHT, s.WIDTH), [Selection(0.25)])
    np.testing.assert_allclose(rows[:, :4], s.BOXES, atol=1e-3)


@pytest.mark.parametrize("names", ["{0: 'car', 2: 'mast'}", "{2: 'mast'}"])
def test_names_with_holes_tell_the_number_of_classes_by_the_largest(names: str, tmp_path: Path) -> None:
    metadata = {**s.METADATA, "names": names}
    case = Case(lambda: s.make_model({"o": transposed(s.candidates(N, 3))}, metadata=metadata), "")
    with Detector.open(model=save(tmp_path, case), engine="onnx") as detector:
        [found] = detector.detect([s.picture()])
    assert found.class_ids.tolist() == s.CLASSES.tolist()


@pytest.mark.parametrize("names", ["{1: 'car', 2: 'boat', 3: 'mast'}", "['car', 'boat', 'mast', 'bow']"])
def test_names_of_more_classes_than_there_are_columns_are_refused(names: str, tmp_path: Path) -> None:
    metadata = {**s.METADATA, "names": names}
    case = Case(lambda: s.make_model({"o": transposed(s.candidates(N, 3))}, metadata=metadata), "")
    with pytest.raises(ModelError, match="3 classes at most, but the metadata names class 3; ids begin with 0"):
        Detector.open(model=save(tmp_path, case), engine="onnx")


@pytest.mark.parametrize("task", ["object-detection", "Detect", "detection"])
def test_a_task_in_the_words_of_others_says_nothing(task: str, tmp_path: Path) -> None:
    metadata = {"names": str(s.NAMES), "stride": "32", "task": task}
    case = Case(lambda: s.make_model({"o": transposed(s.candidates(N, 3))}, metadata=metadata), "")
    with Detector.open(model=save(tmp_path, case), engine="onnx") as detector:
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)


def test_a_task_of_ultralytics_that_is_not_known_is_refused(tmp_path: Path) -> None:
    case = Case(lambda: s.make_model({"o": s.rows()}, metadata=ultralytics(task="pixelate")), "")
    with pytest.raises(ModelError, match="'pixelate'"):
        Detector.open(model=save(tmp_path, case), engine="onnx")


def test_arguments_of_the_export_that_are_no_numbers_are_told_as_they_are(tmp_path: Path) -> None:
    case = Case(lambda: s.make_model({"o": s.rows()}, metadata=ultralytics(args="{'nms': True, 'conf': 'low'}")), "")
    with Detector.open(model=save(tmp_path, case), engine="onnx") as detector:
        assert "below confidence low" in detector.engine.choice.notes[0]
