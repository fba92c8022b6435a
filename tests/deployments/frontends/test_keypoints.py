"""Poses over HTTP and the Open Inference Protocol: the application itself, without Ray."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from azaion_client.results import Box
from azaion_engine.detector import Detector
from azaion_engine.pictures.codec import encode_jpeg
from deployments.frontends.open_inference.repository import ModelRepository
from deployments.service import DetectorService
from tests.azaion_engine import signatures as s
from tests.deployments.frontends.documented import check
from tests.deployments.in_process import ask, replica

EXPECTED = s.KEYPOINTS * np.array([2, 2, 1], np.float32)


@pytest.fixture(params=["raw", "rows"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DetectorService]:
    path = tmp_path / "pose.onnx"
    path.write_bytes(s.pose_model(raw=request.param == "raw"))
    with replica(lambda _: Detector.open(model=str(path), engine="onnx"), decode_threads=1) as held:
        yield held.service


def test_a_picture_is_answered_with_keypoints(service: DetectorService) -> None:
    answer = ask("/detect?confidence=0.25", encode_jpeg(s.picture()))
    assert answer.status_code == 200
    check(answer)
    boxes = answer.json()["boxes"]
    np.testing.assert_allclose([box["keypoints"] for box in boxes], EXPECTED, atol=0.01)
    assert [Box(**box).keypoints == box["keypoints"] for box in boxes] == [True, True]
    assert all("angle" not in box for box in boxes)


def test_boxes_of_tiles_keep_their_keypoints(service: DetectorService) -> None:
    large = encode_jpeg(np.tile(s.picture(), (2, 2, 1)))
    boxes = ask("/detect?confidence=0.7&tiles=192", large).json()["boxes"]
    assert len(boxes) >= 4
    # Three pixels of a tile are one of the network's, four of the whole picture; a tile's border may cut the left side.
    expected = s.BOXES[0, 2:] - [28, 23]
    for box in boxes:
        (_, _, seen), (x, _, _), (_, y, _) = box["keypoints"]
        scale = (box["y2"] - y) / expected[1]
        assert (seen, round(scale, 2) in (3, 4)) == (0.9, True)
        np.testing.assert_allclose(box["x2"] - x, scale * expected[0], atol=0.03)


def test_the_drawn_picture_has_the_visible_keypoints(service: DetectorService) -> None:
    black = encode_jpeg(np.zeros((2 * s.HEIGHT, 2 * s.WIDTH, 3), np.uint8))
    answer = ask("/detect?format=image&confidence=0.25", black)
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)))
    x, y = EXPECTED[1, 1, :2].astype(int)
    assert drawn[y, x].max() > 100


def test_the_protocol_s_picture_model_has_an_output_for_them(service: DetectorService) -> None:
    model = ModelRepository(service).model("pose")
    assert model.metadata()["outputs"][-1] == {"name": "keypoints", "datatype": "FP32", "shape": [-1, -1, 3, 3]}
    pictures = np.array([encode_jpeg(s.picture())] * 2, object)
    outputs, _ = asyncio.run(model.run(pictures, {"confidence": 0.7}))
    by_name = {output.name: output.array for output in outputs}
    assert by_name["num_detections"].tolist() == [1, 1]
    np.testing.assert_allclose(by_name["keypoints"], [[EXPECTED[0]]] * 2, atol=1e-3)
    outputs, _ = asyncio.run(model.run(pictures, {"confidence": 0.99}))
    assert {output.name: output.array.shape for output in outputs}["keypoints"] == (2, 0, 3, 3)


def test_the_protocol_s_raw_model_gives_rows_with_them(service: DetectorService) -> None:
    model = ModelRepository(service).model("pose_raw")
    [output] = model.metadata()["outputs"]
    assert output["shape"][2] == 15
    [rows], _ = asyncio.run(model.run(np.zeros((1, 3, s.HEIGHT, s.WIDTH), np.float32), {}))
    np.testing.assert_allclose(rows.array[0, :2, 6:].reshape(2, 3, 3), s.KEYPOINTS, atol=1e-3)
