"""Objectness of a file without metadata: a run shows whether it is a column of its own, part of the scores, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import ModelError
from tests.azaion_engine import signatures as s

Candidates = NDArray[np.float32]


def beside(count: int) -> Candidates:
    """Objectness in column 4; the classes of the background are trained on nothing, and may be any."""
    made = s.candidates(count, 3, 0.95)
    scores = made[..., 5:]
    scores[scores < 0.01] = np.random.default_rng(4).uniform(0.2, 0.6, scores.shape)[scores < 0.01]
    return made


def within(count: int) -> Candidates:
    """Scores that objectness has been multiplied into, or that never had one: the background has nearly none."""
    made = s.candidates(count, 3)
    scores = made[..., 4:]
    scores[scores < 0.01] = 1e-5
    return made


def transposed(made: Candidates) -> Candidates:
    return np.ascontiguousarray(made.transpose(0, 2, 1))


def save(tmp_path: Path, output: Candidates, operators: tuple[str, ...] = ()) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(s.make_model({"output": output}, operators=operators))
    return str(path)


def head_of(model: str, **settings: Any) -> str:
    with Detector.open(model=model, engine="onnx", **settings) as detector:
        [found] = detector.detect(s.picture(), confidence=0.55)
        np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
        assert found.class_ids.tolist() == s.CLASSES.tolist()
        return detector.engine.choice.head.name


RIGHT = {
    "YOLOv5": (beside(3 * s.CELLS), (), "yolov5"),
    "YOLOX": (beside(s.CELLS), ("Exp",), "yolox"),
    "YOLOX, undecoded": (s.undecoded(beside(s.CELLS)), (), "yolox_raw"),
    "Ultralytics": (transposed(within(s.CELLS)), (), "yolo"),
    "Ultralytics, transposed": (within(s.CELLS), ("Softmax",), "yolo"),
    "Ultralytics, transposed, beside text": (within(s.CELLS), ("Exp", "Softmax"), "yolo"),
}


@pytest.mark.parametrize(("output", "operators", "head"), RIGHT.values(), ids=RIGHT)
def test_what_a_family_always_is_agrees_with_the_run(
    output: Candidates, operators: tuple[str, ...], head: str, tmp_path: Path
) -> None:
    assert head_of(save(tmp_path, output, operators)) == head


def test_objectness_is_not_taken_for_the_first_class(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a class beside an objectness"):
        Detector.open(model=save(tmp_path, transposed(beside(s.CELLS))), engine="onnx")


@pytest.mark.parametrize(
    ("count", "operators"), [(3 * s.CELLS, ()), (s.CELLS, ("Exp",))], ids=["as YOLOv5", "as YOLOX"]
)
def test_the_first_class_is_not_taken_for_objectness(count: int, operators: tuple[str, ...], tmp_path: Path) -> None:
    model = save(tmp_path, within(count), operators)
    with pytest.raises(ModelError, match="`head: yolo`"):
        Detector.open(model=model, engine="onnx")
    assert head_of(model, head="yolo") == "yolo"


def test_where_a_run_cannot_tell_the_key_does(tmp_path: Path) -> None:
    # YOLOX with a transformer as its backbone: its decoding has exponentials, its network softmaxes.
    made = s.candidates(s.CELLS, 3, 0.95)
    made[..., 5:][made[..., 5:] < 0.01] = 0.1
    model = save(tmp_path, made, ("Exp", "Softmax"))
    with pytest.raises(ModelError, match=r"\(head: yolox\) or .*\(head: yolo\): set the key `head`"):
        Detector.open(model=model, engine="onnx")
    assert head_of(model, head="yolox") == "yolox"


def test_centres_in_0_to_1_are_not_taken_for_offsets_in_cells(tmp_path: Path) -> None:
    made = s.candidates(s.CELLS, 3)
    first = 0
    for stride in s.STRIDES:
        ys, xs = np.mgrid[: s.HEIGHT // stride, : s.WIDTH // stride].reshape(2, -1)
        made[0, first : first + len(xs), :2] = (np.stack([xs, ys], axis=1) + 0.3) * stride
        first += len(xs)
    made[0, :, :4] = s.relative(made[0, :, :4])
    with pytest.raises(ModelError, match="columns 0 and 1 follow the cells"):
        Detector.open(model=save(tmp_path, made), engine="onnx")
    with Detector.open(model=save(tmp_path, made), engine="onnx", head="yolo") as detector:
        assert "0..1" in detector.engine.choice.family
