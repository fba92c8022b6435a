"""Rows: what a model finds beside upright boxes, through parts, windows and documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from azaion_batch.documents import Document, write_document
from azaion_batch.job import planned_job
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages import merging, windows
from azaion_batch.storage import Place
from azaion_engine import Detector
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.detecting import detect_scene
from azaion_engine.scenes.scene import Scene
from azaion_engine.settings import DetectorSettings
from tests.azaion_batch.conftest import Run, detect_here, rows_in
from tests.azaion_engine import signatures
from tests.azaion_engine.scenes.files import noise, write_tiff

MODELS = {"oriented": signatures.oriented_model, "keypoints": signatures.pose_model}
FEW_PIXELS = 20_000


@pytest.fixture(params=sorted(MODELS))
def column(request: pytest.FixtureRequest) -> str:
    """The column of a kind of model."""
    return str(request.param)


@pytest.fixture
def settings(column: str, tmp_path: Path) -> BatchSettings:
    path = tmp_path / f"{column}.onnx"
    path.write_bytes(MODELS[column]())
    return BatchSettings.of(DetectorSettings(model=str(path), engine="onnx", threads=1, max_picture_pixels=FEW_PIXELS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    Image.fromarray(signatures.picture()[:96, :96]).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"broken")
    return folder


def test_rows_have_what_the_detector_finds(
    run: Run, settings: BatchSettings, column: str, folder: Path, tmp_path: Path
) -> None:
    run([folder], tmp_path / "out")
    good, bad = rows_in(tmp_path / "out")
    with Detector.open(settings.detector) as detector:
        [found] = detector.detect(folder / "a.png")
    assert len(found) > 1
    np.testing.assert_allclose(good[column], getattr(found, column), atol=1e-3)
    [other] = MODELS.keys() - {column}
    assert good[other] is None
    assert not bad[column]


@pytest.mark.parametrize("kind", ["jsonl", "coco"])
def test_a_document_is_that_of_azaion_detect(
    azaion: Callable[..., Any], settings: BatchSettings, column: str, folder: Path, tmp_path: Path, kind: Document
) -> None:
    entries = find_entries([str(folder / "a.png")], Search())
    with planned_job(Place.of(str(tmp_path / "out")), settings, RunSettings(), entries) as job:
        detect_here(job)
        made = Path(write_document(job, kind).path)
    own = tmp_path / "own"
    azaion("detect", folder / "a.png", "-m", settings.detector.model, "--engine", "onnx", "--format", kind, "-o", own)
    assert ("keypoints" if column == "keypoints" else "angle" if kind == "jsonl" else "segmentation") in own.read_text()
    assert json.loads(made.read_text()) == json.loads(own.read_text())


def test_a_scene_of_which_shares_have_no_data_loses_nothing_of_the_others(
    run: Run, settings: BatchSettings, column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "SHARE_BYTES", 3 * 2 * signatures.HEIGHT * signatures.WIDTH)
    samples = noise(height=300, width=400)
    samples[:, :150] = 0
    scene = write_tiff(tmp_path / "scene.tif", samples, nodata=0)
    out = tmp_path / "out"
    run([scene], out, search=Search(limits=PictureLimits(1 << 20, FEW_PIXELS)), part_bytes=windows.SHARE_BYTES)
    parts = [pq.read_table(path)[column] for path in (out / "windows").iterdir()]
    assert any(part.null_count == len(part) for part in parts)
    with Detector.open(settings.detector) as detector, Scene.open(scene) as opened:
        found = detect_scene(detector, opened, settings.scenes.options(settings.detector.tiles)).found
    [row] = rows_in(out)
    np.testing.assert_allclose(row["boxes"], found.boxes, atol=1e-3)
    np.testing.assert_allclose(row[column], getattr(found, column), atol=1e-3)


def test_parts_of_older_releases_which_have_no_keypoints_are_read(
    run: Run, settings: BatchSettings, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([folder], out)
    [part] = (out / "parts").iterdir()
    pq.write_table(pq.read_table(part).drop_columns(["keypoints"]), part)
    with planned_job(Place.of(str(out)), settings, RunSettings(), find_entries([str(folder)], Search())) as job:
        good, bad = map(json.loads, Path(write_document(job, "jsonl").path).read_text().splitlines())
    assert "keypoints" not in good["boxes"][0]
    assert bad["error"]["code"] == "not_a_picture"


@pytest.mark.parametrize("column", ["keypoints"])
@pytest.mark.parametrize(("overviews", "first"), [((2,), 0), ((), 3)])
def test_windows_of_older_releases_are_not_merged_with_those_that_have_keypoints(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, overviews: tuple[int, ...], first: int
) -> None:
    monkeypatch.setattr(windows, "SHARE_BYTES", 3 * 2 * signatures.HEIGHT * signatures.WIDTH)
    given, out = [write_tiff(tmp_path / "scene.tif", noise(height=300, width=400), overviews)], tmp_path / "out"
    how = {"search": Search(limits=PictureLimits(1 << 20, FEW_PIXELS)), "part_bytes": windows.SHARE_BYTES}
    run(given, out, **how)
    [expected], [part] = rows_in(out), (out / "parts").iterdir()
    part.unlink()
    for path in sorted((out / "windows").iterdir())[first:]:
        pq.write_table(pq.read_table(path).drop_columns([column]), path)
    run(given, out, **how)
    assert [row["error"] for row in rows_in(out)] == [merging._OLDER]
    run(given, out, retry_failed=True, **how)
    assert rows_in(out) == [expected]
    assert expected[column]
