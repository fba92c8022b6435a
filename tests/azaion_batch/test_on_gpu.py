"""A job on GPUs, on a Ray of its own: several workers before a GPU's engine, and the boxes of the detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from azaion_batch import job as job_module
from azaion_batch.cluster import find_workers, running_ray
from azaion_batch.job import parts_of, planned_job
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.storage import Place
from azaion_engine import Detector
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.detecting import detect_scene
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import SceneOptions
from azaion_engine.settings import DetectorSettings, Tiles
from tests.azaion_batch.conftest import Fragile, rows_in
from tests.azaion_engine.scenes.files import noise, write_tiff

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu_ray(no_ray: None) -> Iterator[None]:
    """A Ray of this host's GPUs."""
    with running_ray(None):
        yield


def test_rows_are_what_the_detector_finds(tiny: Path, tmp_path: Path, gpu_ray: None) -> None:
    settings, folder = on_gpu(tiny, tmp_path), many_pictures(tmp_path / "pictures")
    assert parts_in(tmp_path / "out", folder, settings) == 4
    check_rows(tmp_path / "out", sorted(folder.iterdir()), settings)


def test_a_picture_that_kills_its_workers_costs_its_part_alone(
    tiny: Path, tmp_path: Path, gpu_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "Detecting", Fragile)
    # The second pass has room though the first one's workers hold the GPU still: pytest keeps what Ray Data logs of
    # errors, and with the tracebacks all of the first pass.
    settings, folder = on_gpu(tiny, tmp_path), many_pictures(tmp_path / "pictures")
    assert parts_in(tmp_path / "out", folder, settings) == 3
    check_rows(tmp_path / "out", sorted(folder.iterdir())[15:], settings)


def test_scenes_in_shares_are_what_detect_scene_finds(tiny: Path, tmp_path: Path, gpu_ray: None) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    for index in range(3):
        write_tiff(folder / f"{index}.tif", noise(height=3000 + index, width=4000), compress="deflate")
    # Smaller than the scenes, larger than their windows.
    settings = on_gpu(tiny, tmp_path).model_copy(update={"max_picture_pixels": 100_000, "tiles": Tiles(size=256)})
    entries = find_entries([str(folder)], Search(limits=PictureLimits(1 << 20, settings.max_picture_pixels)))
    out = tmp_path / "out"
    with planned_job(Place.of(str(out)), BatchSettings.of(settings), RunSettings(), entries) as job:
        assert sum(part.pictures for part in parts_of(job, find_workers(settings.engine, None))) == 3
    with Detector.open(settings) as detector:
        for row, path in zip(rows_in(out), sorted(folder.iterdir()), strict=True):
            with Scene.open(path) as scene:
                found = detect_scene(detector, scene, SceneOptions(settings.tiles)).found
            np.testing.assert_allclose(np.array(row["boxes"]), found.boxes, atol=0.01)


def parts_in(out: Path, folder: Path, settings: DetectorSettings) -> int:
    entries = find_entries([str(folder)], Search())
    with planned_job(Place.of(str(out)), BatchSettings.of(settings), RunSettings(part_pictures=15), entries) as job:
        workers = find_workers(settings.engine, None)
        assert workers.shared
        return len(list(parts_of(job, workers)))


def check_rows(out: Path, pictures: list[Path], settings: DetectorSettings) -> None:
    with Detector.open(settings) as detector:
        for row, path, found in zip(rows_in(out), pictures, detector.detect(pictures), strict=True):
            assert row["source"] == str(path)
            np.testing.assert_allclose(np.array(row["boxes"]), found.boxes, atol=0.01)


def many_pictures(folder: Path) -> Path:
    folder.mkdir()
    for index in range(60):
        pixels = np.random.default_rng(index).integers(0, 256, (96 + index % 7, 128, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.jpg")
    return folder


def on_gpu(model: Path, folder: Path) -> DetectorSettings:
    return DetectorSettings(
        model=str(model),
        confidence=0,
        batch_size=8,
        precision="fp32",
        optimization_level=0,
        cache_dir=folder / "cache",
    )
