"""A job on real GPUs, on a Ray of its own: several workers before a GPU's engine, and the boxes of the detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from azaion_batch.cluster import WORKERS_OF_GPU, find_workers, running_ray
from azaion_batch.job import parts_of, planned_job
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.finding import Search, find_entries
from azaion_batch.storage import Place
from azaion_engine import Detector
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.detecting import detect_scene
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import SceneOptions
from azaion_engine.settings import DetectorSettings, Tiles
from tests.azaion_batch.conftest import rows_in
from tests.azaion_engine.scenes.files import noise, write_tiff


@pytest.mark.gpu
def test_rows_are_what_the_detector_finds_on_this_gpu(tiny: Path, tmp_path: Path, no_ray: None) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(200):
        pixels = np.random.default_rng(index).integers(0, 256, (96 + index % 7, 128, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.jpg")
    settings = on_gpu(tiny, tmp_path)
    entries = find_entries([str(folder)], Search())
    out = tmp_path / "out"
    with (
        planned_job(Place.of(str(out)), BatchSettings.of(settings), RunSettings(part_pictures=16), entries) as job,
        running_ray(None),
    ):
        workers = find_workers(settings.engine, None)
        assert workers.gpus == 1 / WORKERS_OF_GPU
        assert sum(part.pictures for part in parts_of(job, workers)) == 200
    with Detector.open(settings) as detector:
        for row, found in zip(rows_in(out), detector.detect(sorted(folder.iterdir())), strict=True):
            assert row["source"].endswith(".jpg")
            np.testing.assert_allclose(np.array(row["boxes"]), found.boxes, atol=0.01)


@pytest.mark.gpu
def test_scenes_in_shares_are_what_detect_scene_finds_on_this_gpu(tiny: Path, tmp_path: Path, no_ray: None) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    for index in range(3):
        write_tiff(folder / f"{index}.tif", noise(height=3000 + index, width=4000), compress="deflate")
    # Smaller than the scenes, larger than their windows.
    settings = on_gpu(tiny, tmp_path).model_copy(update={"max_picture_pixels": 100_000, "tiles": Tiles(size=256)})
    entries = find_entries([str(folder)], Search(limits=PictureLimits(1 << 20, settings.max_picture_pixels)))
    out = tmp_path / "out"
    with (
        planned_job(Place.of(str(out)), BatchSettings.of(settings), RunSettings(), entries) as job,
        running_ray(None),
    ):
        assert sum(part.pictures for part in parts_of(job, find_workers(settings.engine, None))) == 3
    with Detector.open(settings) as detector:
        for row, path in zip(rows_in(out), sorted(folder.iterdir()), strict=True):
            with Scene.open(path) as scene:
                found = detect_scene(detector, scene, SceneOptions(settings.tiles)).found
            np.testing.assert_allclose(np.array(row["boxes"]), found.boxes, atol=0.01)


def on_gpu(model: Path, folder: Path) -> DetectorSettings:
    return DetectorSettings(
        model=str(model),
        engine="tensorrt",
        confidence=0,
        batch_size=8,
        precision="fp32",
        optimization_level=0,
        cache_dir=folder / "cache",
    )
