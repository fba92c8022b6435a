"""Exports that give every candidate as rows, or as boxes, scores and classes: they are suppressed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import ModelError
from azaion_engine.heads.base import corners
from tests.azaion_engine import signatures as s

Outputs = dict[str, NDArray[Any]]

NAMED = {"stride": "32", "names": str(s.NAMES)}
"""Metadata of YOLOv5 and YOLOv9."""

RGB: dict[str, Any] = {"input": {"colour": "rgb"}}


def candidate_rows(count: int, classes: int = 3) -> NDArray[np.float32]:
    """Rows of every candidate `[1, count, 6]`, as DeepStream-Yolo's exports give them; one object has two."""
    made = s.candidates(count, classes)[0]
    columns = [corners(made[:, :4]), made[:, 4:].max(axis=1), made[:, 4:].argmax(axis=1)]
    return np.column_stack(columns).astype(np.float32)[None]


def apart(count: int, keep_last: bool = False) -> Outputs:
    rows = candidate_rows(count)
    last = slice(4, 5) if keep_last else 4
    return {
        "boxes": rows[..., :4].copy(),
        "scores": rows[..., last].copy(),
        "class_idx": rows[..., 5].astype(np.uint8),
    }


CASES: dict[str, Outputs] = {
    "DeepStream-Yolo, a row for each cell": {"output": candidate_rows(s.CELLS)},
    "DeepStream-Yolo, three rows for each cell": {"output": candidate_rows(3 * s.CELLS)},
    "the same, two classes": {"output": candidate_rows(3 * s.CELLS, 2)},
    "Qualcomm AI Hub": apart(s.CELLS),
    "DeepStream-Yolo, older": apart(3 * s.CELLS, keep_last=True),
}


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("outputs", CASES.values(), ids=CASES)
def test_an_object_of_several_candidates_is_answered_once(outputs: Outputs, is_open: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shapes = {name: ["b", "n", *value.shape[2:]] for name, value in outputs.items()} if is_open else {}
    path.write_bytes(s.make_model(outputs, shapes=shapes))
    with pytest.raises(ModelError, match=r"`input: \{colour: rgb\}` alone is RGB 0..1, "):
        Detector.open(model=str(path), engine="onnx")
    with Detector.open(model=str(path), engine="onnx", **RGB) as detector:
        assert detector.engine.choice.head.selective
        assert "letterbox" in detector.engine.choice.form.describe()
        [found] = detector.detect([s.picture()])
        both = detector.detect(s.picture(), iou=0.99)[0]
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-5)
    assert found.class_ids.tolist() == s.CLASSES.tolist()
    assert len(both.boxes) == 3


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_the_form_that_a_refusal_names_is_that_of_its_advice(fit: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    outputs: dict[str, Outputs] = {
        "letterbox": {"out": s.rows()},
        "stretch": {"boxes": s.BOXES[None], "scores": s.CONFIDENCES[None], "labels": s.CLASSES[None]},
    }
    path.write_bytes(s.make_model(outputs[fit]))
    with pytest.raises(ModelError) as refused:
        Detector.open(model=str(path), engine="onnx")
    with Detector.open(model=str(path), engine="onnx", **RGB) as detector:
        form = detector.engine.choice.form
    assert form.fit == fit
    assert f"`input: {{colour: rgb}}` alone is {form.describe()}" in str(refused.value)


def of(*outputs: NDArray[np.float32], **metadata: str) -> bytes:
    named = {f"output{number}": np.ascontiguousarray(output) for number, output in enumerate(outputs)}
    return s.make_model(named, metadata=metadata)


def detect(path: Path, model: bytes) -> Any:
    path.write_bytes(model)
    with Detector.open(model=str(path), engine="onnx") as detector:
        return detector.detect([s.picture()])[0]


@pytest.mark.parametrize("metadata", [{}, NAMED], ids=["without metadata", "with metadata"])
def test_the_last_of_yolov9_s_branches_is_answered(metadata: dict[str, str], tmp_path: Path) -> None:
    auxiliary = s.candidates(s.CELLS, 3)
    auxiliary[..., :2] += 3
    outputs = [made.transpose(0, 2, 1) for made in (auxiliary, s.candidates(s.CELLS, 3))]
    found = detect(tmp_path / "model.onnx", of(*outputs, **metadata))
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)


def test_a_raw_head_of_any_network_is_not_taken_for_yolox_which_decodes_by_exponentials(tmp_path: Path) -> None:
    found = detect(tmp_path / "model.onnx", of(s.candidates(s.CELLS, 3)))
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    assert found.class_ids.tolist() == s.CLASSES.tolist()


@pytest.mark.parametrize("cornered", [False, True])
@pytest.mark.parametrize("is_relative", [False, True])
@pytest.mark.parametrize("head", ["yolo", "yolo, transposed", "yolov5"])
def test_a_run_shows_what_the_coordinates_of_candidates_are(
    head: str, is_relative: bool, cornered: bool, tmp_path: Path
) -> None:
    made = s.candidates(3 * s.CELLS, 3, 0.95) if head == "yolov5" else s.candidates(s.CELLS, 3)
    if cornered:
        made[0, :, :4] = corners(made[0, :, :4])
    if is_relative:
        made[0, :, :4] = s.relative(made[0, :, :4])
    operators = ["Softmax"] if head == "yolo, transposed" else []
    output = np.ascontiguousarray(made.transpose(0, 2, 1) if head == "yolo" else made)
    found = detect(tmp_path / "model.onnx", s.make_model({"output": output}, operators=operators))
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
    np.testing.assert_allclose(found.confidences, s.CONFIDENCES, atol=1e-5)


@pytest.mark.parametrize("metadata", [{}, NAMED], ids=["without metadata", "with metadata"])
@pytest.mark.parametrize("key", ["yolo", "yolov5"])
def test_a_run_shows_the_coordinates_of_the_head_that_the_user_names(
    key: str, metadata: dict[str, str], tmp_path: Path
) -> None:
    made = s.candidates(3 * s.CELLS if metadata else 500, 3, None if key == "yolo" else 0.95)
    made[0, :, :4] = s.relative(made[0, :, :4])
    path = tmp_path / "model.onnx"
    path.write_bytes(of(made.transpose(0, 2, 1) if metadata and key == "yolo" else made, **metadata))
    with pytest.raises(ModelError, match="the key `head`"):
        detect(path, path.read_bytes())
    with Detector.open(model=str(path), engine="onnx", head=key) as detector:
        assert detector.engine.choice.head.raw_layout() is None  # the GPU's kernel reads centres in pixels
        [found] = detector.detect([s.picture()])
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)


def test_features_of_each_candidate_beside_the_boxes_refuse_no_file(tmp_path: Path) -> None:
    found = detect(
        tmp_path / "model.onnx",
        of(np.full((1, 6, s.CELLS), 0.5, np.float32), s.candidates(s.CELLS, 3).transpose(0, 2, 1), **s.METADATA),
    )
    np.testing.assert_allclose(found.boxes, 2 * s.BOXES, atol=1e-3)
