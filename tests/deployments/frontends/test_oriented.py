"""Oriented boxes over HTTP and the Open Inference Protocol: the application itself, without Ray."""

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
from azaion_engine.geometry import corners_of
from azaion_engine.pictures.codec import encode_jpeg
from deployments.frontends.open_inference.repository import ModelRepository
from deployments.service import DetectorService
from tests.azaion_engine import signatures as s
from tests.deployments.frontends.documented import check
from tests.deployments.in_process import ask, replica

ANGLES, SCALE = s.ORIENTED[:, 4], np.array([2, 2, 2, 2, 1])


@pytest.fixture(params=["raw", "rows"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DetectorService]:
    path = tmp_path / "obb.onnx"
    path.write_bytes(s.oriented_model(raw=request.param == "raw"))
    with replica(lambda _: Detector.open(model=str(path), engine="onnx"), decode_threads=1) as held:
        yield held.service


def test_a_picture_is_answered_with_angles_and_corners(service: DetectorService) -> None:
    answer = ask("/detect?confidence=0.25", encode_jpeg(s.picture()))
    assert answer.status_code == 200
    check(answer)
    boxes = answer.json()["boxes"]
    np.testing.assert_allclose([box["angle"] for box in boxes], ANGLES, atol=1e-4)
    np.testing.assert_allclose([box["corners"] for box in boxes], corners_of(s.ORIENTED * SCALE), atol=0.01)
    for box in boxes:
        corners = np.array(box["corners"])
        upright = [box[side] for side in ("x1", "y1", "x2", "y2")]
        np.testing.assert_allclose(upright, [*corners.min(axis=0), *corners.max(axis=0)], atol=0.011)
        assert Box(**box).angle == box["angle"]


def test_a_class_is_kept_with_its_own_angle(service: DetectorService) -> None:
    answer = ask("/detect?classes=car", encode_jpeg(s.picture()))
    [box] = answer.json()["boxes"]
    assert (box["class_name"], box["angle"]) == ("car", pytest.approx(ANGLES[1], abs=1e-4))


def test_the_drawn_picture_has_the_turned_box(service: DetectorService) -> None:
    black = encode_jpeg(np.zeros((2 * s.HEIGHT, 2 * s.WIDTH, 3), np.uint8))
    answer = ask("/detect?format=image", black)
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)))
    [_, second] = corners_of(s.ORIENTED * SCALE)
    lower_left = (second[2] + second[3]) / 2  # the middle of a side; labels lie above
    x, y = np.rint(lower_left).astype(int)
    assert drawn[y - 1 : y + 2, x - 1 : x + 2].max() > 100
    x, y = np.rint([second[:, 0].min(), second[:, 1].max()]).astype(int)
    assert drawn[y - 2 : y + 3, x - 2 : x + 3].max() < 60  # corner of the upright box


def test_the_protocol_s_picture_model_has_outputs_for_them(service: DetectorService) -> None:
    model = ModelRepository(service).model("obb")
    assert [output["name"] for output in model.metadata()["outputs"]][-2:] == ["angles", "corners"]
    pictures = np.array([encode_jpeg(s.picture())] * 2, object)
    outputs, _ = asyncio.run(model.run(pictures, {"confidence": 0.7}))
    by_name = {output.name: output.array for output in outputs}
    assert by_name["num_detections"].tolist() == [1, 1]
    np.testing.assert_allclose(by_name["angles"], [[ANGLES[0]]] * 2, atol=1e-6)
    assert by_name["corners"].shape == (2, 1, 4, 2)
    np.testing.assert_allclose(by_name["corners"][1, 0], corners_of(s.ORIENTED * SCALE)[0], atol=1e-3)


def test_the_protocol_s_raw_model_gives_rows_of_seven(service: DetectorService) -> None:
    model = ModelRepository(service).model("obb_raw")
    [output] = model.metadata()["outputs"]
    assert output["shape"][2] == 7
    [rows], _ = asyncio.run(model.run(np.zeros((1, 3, s.HEIGHT, s.WIDTH), np.float32), {}))
    np.testing.assert_allclose(rows.array[0, :2, 6], ANGLES, atol=1e-6)
    np.testing.assert_allclose(rows.array[0, :2, :4], s.ORIENTED[:, :4], atol=1e-3)
