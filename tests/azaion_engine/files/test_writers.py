"""Writers: their files as other programs read them."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask
from pycocotools.coco import COCO

from azaion_engine.errors import InvalidParameterError
from azaion_engine.files.safe_output import SafeOutput
from azaion_engine.files.sources import Item, Source
from azaion_engine.files.writers import Coco, Csv, FileNames, JsonLines, Yolo
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.results.detections import Detections

NAMES = {0: "car", 1: "truck"}


def found(*rows: tuple[float, ...], width: int = 200, height: int = 100) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), width, height, NAMES)


CAR, TRUCK = (10, 20, 50, 60, 0.9, 0), (0, 0, 200, 100, 0.5, 1)
PICTURE, FRAME = Item("in/a.jpg", "a.jpg", b""), Item("in/v.mp4", "v_000007.jpg", b"", 7, 0.28)


def test_json_lines_are_one_object_a_picture_and_tell_frames() -> None:
    stream = io.StringIO()
    writer = JsonLines(stream)
    writer.write(PICTURE, found(CAR))
    writer.write(FRAME, found())
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["source"] == "in/a.jpg"
    assert first["picture"] == {"width": 200, "height": 100}
    assert first["boxes"] == found(CAR).to_dicts()
    assert "frame" not in first
    assert (second["frame"], second["time_s"], second["boxes"]) == (7, 0.28, [])


def test_csv_is_one_row_a_box() -> None:
    stream = io.StringIO()
    writer = Csv(stream)
    writer.write(PICTURE, found(CAR, TRUCK))
    writer.write(FRAME, found(CAR))
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert [(row["source"], row["frame"], row["class_name"]) for row in rows] == [
        ("in/a.jpg", "", "car"),
        ("in/a.jpg", "", "truck"),
        ("in/v.mp4", "7", "car"),
    ]
    assert float(rows[0]["x2"]) == 50


def test_yolo_files_are_shares_of_the_picture_and_empty_for_background(tmp_path: Path) -> None:
    writer = Yolo(tmp_path / "labels")
    writer.write(PICTURE, found(CAR, TRUCK))
    writer.write(FRAME, found())
    writer.finish()
    car, truck = (tmp_path / "labels/a.txt").read_text().splitlines()
    assert [float(value) for value in car.split()] == [0, 0.15, 0.4, 0.2, 0.4, 0.9]
    assert [float(value) for value in truck.split()] == [1, 0.5, 0.5, 1, 1, 0.5]
    assert (tmp_path / "labels/v_000007.txt").read_text() == ""


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    writer = Yolo(tmp_path)
    for name in ("a.jpg", "a.png", "deep/a.jpg"):
        writer.write(Item(name, name, b""), found(CAR))
    writer.finish()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")} == {"a.txt", "a_2.txt", "deep/a.txt"}


def test_coco_documents_load_in_pycocotools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "coco.json"
    with path.open("w") as stream:
        writer = Coco(stream, NAMES)
        writer.write(PICTURE, found(CAR, TRUCK))
        writer.write(FRAME, found())
        writer.finish()
    coco = COCO(str(path))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["car", "truck"]
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.jpg", "v_000007.jpg"]
    [car] = coco.loadAnns(coco.getAnnIds(imgIds=[1], catIds=[0]))
    assert (car["bbox"], car["area"], car["score"]) == ([10, 20, 40, 40], 1600, 0.9)
    results = coco.loadRes(json.loads(path.read_text())["annotations"])
    assert len(results.anns) == 2


# --- oriented boxes -----------------------------------------------------------------------------


def oriented() -> Detections:
    """One box of 40 × 20 turned by 30°, half of it left of the picture."""
    rows = np.array([[0, 40, 40, 20, 0.9, 1, math.pi / 6]], np.float32)
    return Detections.from_rows(rows, Letterbox.fit(200, 100, 100, 200), NAMES)


def expected_corners() -> np.ndarray:
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    along, across = np.array([20 * cos, 20 * sin]), np.array([-10 * sin, 10 * cos])
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([[0, 40] + a * along + b * across for a, b in signs])


def test_json_lines_of_oriented_boxes_have_angle_and_corners() -> None:
    stream = io.StringIO()
    JsonLines(stream).write(PICTURE, oriented())
    [box] = json.loads(stream.getvalue())["boxes"]
    assert box["angle"] == pytest.approx(math.pi / 6, abs=1e-4)
    np.testing.assert_allclose(box["corners"], expected_corners(), atol=0.006)


def test_csv_of_oriented_boxes_has_columns_for_them() -> None:
    stream = io.StringIO()
    Csv(stream, oriented=True).write(PICTURE, oriented())
    [row] = csv.DictReader(io.StringIO(stream.getvalue()))
    assert float(row["angle"]) == pytest.approx(math.pi / 6, abs=1e-4)
    found = [[float(row[f"{axis}_corner_{i}"]) for axis in "xy"] for i in (1, 2, 3, 4)]
    np.testing.assert_allclose(found, expected_corners(), atol=0.006)


def test_yolo_labels_of_oriented_boxes_are_their_corners(tmp_path: Path) -> None:
    writer = Yolo(tmp_path)
    writer.write(PICTURE, oriented())
    writer.finish()
    class_id, *values, confidence = map(float, (tmp_path / "a.txt").read_text().split())
    assert (class_id, confidence) == (1, pytest.approx(0.9))
    np.testing.assert_allclose(np.reshape(values, (4, 2)) * [200, 100], expected_corners(), atol=1e-3)


def test_coco_s_segmentation_of_an_oriented_box_is_its_polygon(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    with path.open("w") as stream:
        writer = Coco(stream, NAMES)
        writer.write(PICTURE, oriented())
        writer.finish()
    coco = COCO(str(path))
    [box] = coco.loadAnns(coco.getAnnIds())
    [polygon] = box["segmentation"]
    np.testing.assert_allclose(np.reshape(polygon, (4, 2)), expected_corners(), atol=0.006)
    assert box["area"] == pytest.approx(800, abs=0.1)
    x, y, width, height = box["bbox"]
    corners = expected_corners().clip([0, 0], [200, 100])
    np.testing.assert_allclose([x, y, x + width, y + height], [*corners.min(0), *corners.max(0)], atol=0.02)
    assert mask.area(coco.annToRLE(box)) == pytest.approx(400, rel=0.15)  # half of it is in the picture


# --- poses ----------------------------------------------------------------------------------------


POINTS = [[12, 30, 0.9], [48, 55, 0.25]]


def posed() -> Detections:
    return replace(found(CAR), keypoints=np.array([POINTS], np.float32))


def test_json_lines_of_a_pose_have_its_keypoints() -> None:
    stream = io.StringIO()
    JsonLines(stream).write(PICTURE, posed())
    [box] = json.loads(stream.getvalue())["boxes"]
    assert box["keypoints"] == POINTS


def test_csv_of_a_pose_has_columns_for_each_keypoint() -> None:
    stream = io.StringIO()
    writer = Csv(stream, tracked=True, keypoints=2)
    writer.write(PICTURE, replace(posed(), track_ids=np.array([4])))
    [row] = csv.DictReader(io.StringIO(stream.getvalue()))
    assert [[float(row[f"{name}_keypoint_{i}"]) for name in Csv.KEYPOINT] for i in (1, 2)] == POINTS
    assert row["track_id"] == "4"


def test_yolo_labels_of_a_pose_are_its_box_then_its_keypoints(tmp_path: Path) -> None:
    writer = Yolo(tmp_path)
    writer.write(PICTURE, posed())
    writer.finish()
    values = [float(value) for value in (tmp_path / "a.txt").read_text().split()]
    assert values == [0, 0.15, 0.4, 0.2, 0.4, 0.06, 0.3, 0.9, 0.24, 0.55, 0.25, 0.9]


def test_coco_s_annotation_of_a_pose_has_flagged_keypoints_that_its_category_numbers(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    with path.open("w") as stream:
        writer = Coco(stream, NAMES)
        writer.write(PICTURE, posed())
        writer.finish()
    coco = COCO(str(path))
    [box] = coco.loadAnns(coco.getAnnIds())
    assert box["keypoints"] == [12, 30, 2, 48, 55, 1]
    assert box["num_keypoints"] == 2
    assert box["bbox"] == [10, 20, 40, 40]
    for category in coco.loadCats(coco.getCatIds()):
        assert category["keypoints"] == ["keypoint_1", "keypoint_2"]


def test_frames_of_a_stream_have_their_time_and_tracked_boxes_their_ids() -> None:
    stream = io.StringIO()
    frame = Item("rtsp://camera/a", "stream_1_000007.jpg", b"", frame=7, time_s=0.28, stream=1, clock_s=1796000000.25)
    tracked = replace(found(CAR, TRUCK), track_ids=np.array([3, -1]))
    JsonLines(stream).write(frame, tracked)
    line = json.loads(stream.getvalue())
    assert [line[key] for key in ("source", "stream", "time", "frame", "time_s")] == [
        "rtsp://camera/a",
        1,
        "2026-11-30T00:53:20.250Z",
        7,
        0.28,
    ]
    assert [box["track_id"] for box in line["boxes"]] == [3, None]
    rows = io.StringIO()
    Csv(rows, tracked=True).write(frame, tracked)
    assert [row["track_id"] for row in csv.DictReader(io.StringIO(rows.getvalue()))] == ["3", ""]
    document = io.StringIO()
    coco = Coco(document, NAMES)
    coco.write(frame, tracked)
    coco.finish()
    assert [one.get("track_id") for one in json.loads(document.getvalue())["annotations"]] == [3, None]


def test_a_stream_of_another_encoding_gets_the_same_json_in_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    JsonLines(stream).write(Item("ночь.jpg", "ночь.jpg", b""), found())
    assert json.loads(raw.getvalue().decode("latin-1"))["source"] == "ночь.jpg"


def test_files_that_are_planned_are_those_that_are_written(tmp_path: Path) -> None:
    sources = [Source("in/a.jpg", "a.jpg"), Source("in/a.png", "a.png")]
    (tmp_path / "a_2.txt").write_text("old")
    with pytest.raises(InvalidParameterError, match=r"a_2\.txt"):
        FileNames(tmp_path, ".txt").plan(sources, SafeOutput())
    FileNames(tmp_path, ".txt").plan(sources[:1], SafeOutput())
