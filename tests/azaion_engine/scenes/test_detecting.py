"""Detecting in scenes: windows, resampling, sizes and the map, with a network that finds bright rectangles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.engines.base import InferenceEngine
from azaion_engine.errors import InvalidParameterError
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.detecting import detect_scene
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import SceneOptions, scaled
from azaion_engine.settings import Tiles
from azaion_engine.tiling.tile import Tile
from tests.azaion_engine.scenes.files import UTM33, write_tiff

NETWORK = 256
MAP = {"crs": "EPSG:32633", "transform": UTM33}


class RectangleEngine(InferenceEngine):
    """Answers the bright rectangles of its input, each with the confidence 0.9 and class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures = 0

    @property
    def name(self) -> str:
        return "rectangles"

    def get_input_shape(self) -> tuple[int, int]:
        return NETWORK, NETWORK

    def get_batch_size(self) -> int:
        return 4

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        rows = np.zeros((len(data), 50, 6), np.float32)
        rows[:, :, 5] = -1
        self.pictures += len(data)
        for picture, found in zip(data, rows, strict=True):
            _, _, stats, _ = cv2.connectedComponentsWithStats((picture[0] > 0.7).astype(np.uint8))
            for row, (x, y, width, height, _) in zip(found, stats[1:], strict=False):
                row[:] = x, y, x + width, y + height, 0.9, 0
        return [rows]

    def _release(self) -> None:
        pass


@pytest.fixture
def detector() -> Iterator[Detector]:
    with Detector(RectangleEngine(), {0: "car"}) as detector:
        yield detector


def runs(detector: Detector) -> int:
    assert isinstance(detector.engine, RectangleEngine)
    return detector.engine.pictures


def rectangles(height: int, width: int, side: int = 24, step: int = 150) -> list[tuple[int, int, int, int]]:
    """Boxes x1, y1, x2, y2 all over a scene, half of them twice as wide as high."""
    starts = [(x, y) for y in range(30, height - 60, step) for x in range(20 + y % 90, width - 60, step)]
    return [(x, y, x + side * (1 + index % 2), y + side) for index, (x, y) in enumerate(starts)]


def scene_with(
    boxes: list[tuple[int, int, int, int]], height: int, width: int, kind: type = np.uint8, high: int = 250
) -> np.ndarray:
    samples = np.full((3, height, width), high // 8, kind)
    for x1, y1, x2, y2 in boxes:
        samples[:, y1:y2, x1:x2] = high
    return samples


def sorted_boxes(found: Detections) -> list[list[float]]:
    return sorted(found.boxes.tolist(), key=lambda box: (round(box[1], -1), box[0]))


def options(**given: Any) -> SceneOptions:
    return SceneOptions(Tiles(), **given)


def test_every_object_of_a_scene_is_found_once(detector: Detector, tmp_path: Path) -> None:
    boxes = rectangles(1100, 1500)
    path = write_tiff(tmp_path / "a.tif", scene_with(boxes, 1100, 1500))
    told: list[tuple[int, int]] = []
    with Scene.open(path) as scene:
        result = detect_scene(detector, scene, options(), progress=lambda done, total: told.append((done, total)))
    assert sorted_boxes(result.found) == [[float(value) for value in box] for box in boxes]
    assert (result.found.picture_width, result.found.picture_height) == (1500, 1100)
    assert result.found.class_name(0) == "car"
    assert result.tiles == runs(detector) == 8 * 6 + 1  # and the whole
    assert told == [(number, 49) for number in range(1, 50)]


@pytest.mark.parametrize(("kind", "high"), [(np.uint16, 3000), (np.float32, 40)])
def test_deep_scenes_are_found_in_too(detector: Detector, tmp_path: Path, kind: type, high: int) -> None:
    boxes = rectangles(600, 700, step=100)
    path = write_tiff(tmp_path / "a.tif", scene_with(boxes, 600, 700, kind, high))
    with Scene.open(path) as scene:
        result = detect_scene(detector, scene, options())
    assert sorted_boxes(result.found) == [[float(value) for value in box] for box in boxes]


def test_windows_without_data_are_not_run(detector: Detector, tmp_path: Path) -> None:
    samples = np.zeros((3, 2000, 2000), np.uint8)
    samples[:, 900:1100, 900:1100] = 30
    samples[:, 1000:1020, 1000:1030] = 250
    tagged = write_tiff(tmp_path / "nodata.tif", samples, nodata=0)
    sparse = tmp_path / "sparse.tif"
    shape = {"count": 3, "height": 2000, "width": 2000, "dtype": "uint8", "tiled": True, "blockxsize": 256}
    with rasterio.open(sparse, "w", driver="GTiff", blockysize=256, sparse_ok=True, **shape) as dataset:
        dataset.write(samples[:, 768:1280, 768:1280], window=rasterio.windows.Window(768, 768, 512, 512))
    for path in (tagged, sparse):
        before = runs(detector)
        with Scene.open(path) as scene:
            result = detect_scene(detector, scene, options())
        assert result.found.boxes.tolist() == [[1000, 1000, 1030, 1020]], path
        assert result.tiles == runs(detector) - before <= 17
        assert result.tiles + result.empty == 10 * 10 + 1


def test_a_scene_without_any_data_has_no_boxes(detector: Detector, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", np.full((1, 500, 500), -9999, np.int16), nodata=-9999)
    with Scene.open(path) as scene:
        result = detect_scene(detector, scene, options())
    assert (len(result.found), result.tiles, result.empty) == (0, 0, 10)


def test_a_scene_is_resampled_to_the_trainings_metres_a_pixel(detector: Detector, tmp_path: Path) -> None:
    boxes = rectangles(1100, 1500)
    path = write_tiff(tmp_path / "a.tif", scene_with(boxes, 1100, 1500), **MAP)
    for gsd, windows in ((0.2, 12), (0.05, 15 * 11)):
        with Scene.open(path) as scene:
            result = detect_scene(detector, scene, SceneOptions(Tiles(full_picture=False), gsd=gsd))
        assert len(result.found) == len(boxes)
        np.testing.assert_allclose(sorted_boxes(result.found), boxes, atol=0.1 / gsd + 1.5)
        assert abs(result.tiles - windows) <= 26


def test_the_scenes_own_metres_can_be_given(detector: Detector, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", scene_with(rectangles(1100, 1500), 1100, 1500))
    with Scene.open(path) as scene:
        with pytest.raises(InvalidParameterError, match=r"gsd: the file does not say.*scene_gsd"):
            detect_scene(detector, scene, options(gsd=0.2))
        assert detect_scene(detector, scene, options(gsd=0.2, scene_gsd=0.1)).tiles == 12 + 1


def test_boxes_are_chosen_by_metres(detector: Detector, tmp_path: Path) -> None:
    boxes = rectangles(600, 700)
    path = write_tiff(tmp_path / "a.tif", scene_with(boxes, 600, 700), **MAP)  # sides of 2.4 and 4.8 m
    wide = [box for box in boxes if box[2] - box[0] == 48]
    with Scene.open(path) as scene:
        assert len(detect_scene(detector, scene, options(min_metres=4)).found) == len(wide)
        assert len(detect_scene(detector, scene, options(max_metres=4)).found) == len(boxes) - len(wide)
        assert len(detect_scene(detector, scene, options(min_metres=2, max_metres=5)).found) == len(boxes)
        with pytest.raises(InvalidParameterError, match="min_metres: expected metres above 0, given -1"):
            options(min_metres=-1)


@pytest.mark.parametrize("overviews", [(2, 4, 8), ()], ids=["overviews", "none"])
@pytest.mark.parametrize("profile", [{}, {"tiled": False, "blockysize": 16}], ids=["tiles", "strips"])
def test_an_object_larger_than_a_window_is_found(
    detector: Detector, tmp_path: Path, overviews: tuple[int, ...], profile: dict[str, Any]
) -> None:
    large = (300, 200, 1300, 900)
    samples = scene_with([large], 1100, 1500)
    with Scene.open(write_tiff(tmp_path / "a.tif", samples, overviews, **profile)) as scene:
        result = detect_scene(detector, scene, options())
        parts = detect_scene(detector, scene, SceneOptions(Tiles(full_picture=False, merge="suppress")))
    nearest = np.abs(result.found.boxes - np.array(large)).max(axis=1).min()
    assert nearest < 8
    assert np.abs(parts.found.boxes - np.array(large)).max(axis=1).min() > 100


def test_a_damaged_window_is_told_and_the_others_are_answered(detector: Detector, tmp_path: Path) -> None:
    boxes = rectangles(1024, 1024)
    noisy = scene_with(boxes, 1024, 1024)
    noisy[noisy < 100] += np.random.default_rng(1).integers(0, 9, noisy.shape, np.uint8)[noisy < 100]
    path = write_tiff(tmp_path / "a.tif", noisy, compress="deflate")
    with rasterio.open(path) as dataset:
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{what}_3_3", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    with Scene.open(path) as scene:
        result = detect_scene(detector, scene, options())
    assert result.damaged
    assert all(tile.right > 768 and tile.bottom > 768 for tile, _ in result.damaged)
    assert "damaged" in str(result.damaged[0][1])
    found = {tuple(box) for box in result.found.boxes.tolist()}
    assert {box for box in boxes if box[2] < 600 or box[3] < 600} <= found


def test_too_many_windows_and_too_much_resampling_are_refused(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    shape = {"count": 1, "height": 400_000, "width": 400_000, "dtype": "uint8", "tiled": True, "blockxsize": 4096}
    with rasterio.open(path, "w", driver="GTiff", blockysize=4096, sparse_ok=True, BIGTIFF="YES", **MAP, **shape):
        pass
    with Scene.open(path) as scene:
        with pytest.raises(InvalidParameterError, match=r"windows of 256×256 pixels cover .* at most 1048576"):
            detect_scene(detector, scene, options())
        with pytest.raises(InvalidParameterError, match=r"is a factor of 0\.001"):
            detect_scene(detector, scene, options(gsd=100))
        with pytest.raises(InvalidParameterError, match=r"windows of 32768×32768 pixels are too large.*max_picture_p"):
            detect_scene(detector, scene, SceneOptions(Tiles(size=32768)))


def test_a_scene_smaller_than_a_window_is_one(detector: Detector, tmp_path: Path) -> None:
    with Scene.open(write_tiff(tmp_path / "a.tif", scene_with([(10, 20, 40, 60)], 90, 120))) as scene:
        result = detect_scene(detector, scene, options())
    assert result.tiles == 1
    np.testing.assert_allclose(result.found.boxes, [[10, 20, 40, 60]], atol=1)


def test_oriented_boxes_are_scaled_with_their_corners() -> None:
    oriented = np.array([[100, 50, 40, 20, 0.5]], np.float32)
    boxes = np.array([[70, 30, 130, 70]], np.float32)
    one = Detections(boxes, np.ones(1, np.float32), np.zeros(1, np.int64), 256, 256, {}, oriented)
    found = scaled(one, Tile(7, 8, 512, 512))
    assert one.corners is not None
    assert found.corners is not None
    np.testing.assert_allclose(found.corners, one.corners * 2, rtol=1e-5)
    np.testing.assert_array_equal(found.boxes, boxes * 2)
    assert (found.picture_width, found.picture_height) == (512, 512)


def test_keypoints_are_scaled_with_their_box() -> None:
    boxes, keypoints = (
        np.array([[70, 30, 130, 70]], np.float32),
        np.array([[[75, 40, 0.9], [120, 60, 0.3]]], np.float32),
    )
    one = Detections(boxes, np.ones(1, np.float32), np.zeros(1, np.int64), 256, 256, {}, keypoints=keypoints)
    found = scaled(one, Tile(7, 8, 512, 1024))
    np.testing.assert_allclose(found.keypoints, keypoints * np.array([2, 4, 1]), rtol=1e-6)
