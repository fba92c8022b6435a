"""Windows: scenes on a disk are rows of windows first, and each one row in the end, as `detect_scene` finds it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from azaion_batch.job import planned_job
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages import windows as windows_module
from azaion_batch.storage import Place
from azaion_engine import Detector
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.detecting import SceneResult, detect_scene
from azaion_engine.scenes.files import SceneWishes
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import SceneWindows
from tests.azaion_batch.conftest import Run, detect_here, rows_in
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff

SMALL = Search(limits=PictureLimits(1 << 20, 5_000))
MAP = {"crs": "EPSG:32633", "transform": UTM33}


@pytest.fixture(autouse=True)
def _small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some windows of the tiny model a share."""
    monkeypatch.setattr(windows_module, "SHARE_BYTES", 3 * 3 * 64 * 64)


@pytest.fixture
def settings(settings: BatchSettings) -> BatchSettings:
    return BatchSettings.of(settings.detector.model_copy(update={"max_picture_pixels": 5_000}))


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Three scenes: without overviews, with one, and with areas that have no data."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    write_tiff(folder / "a.tif", noise(height=200, width=300), **MAP)
    write_tiff(folder / "b.tif", noise(height=180, width=170), overviews=(2,), **MAP)
    samples = noise(height=220, width=150)
    samples[:, :130] = 0
    write_tiff(folder / "c.tif", samples, nodata=0, **MAP)
    return folder


def expected(settings: BatchSettings, path: Path) -> SceneResult:
    wishes = settings.scenes
    with Detector.open(settings.detector) as detector, Scene.open(path, wishes.bands) as scene:
        return detect_scene(detector, scene, wishes.options(settings.detector.tiles))


def jobs(given: Path, out: Path, settings: BatchSettings) -> Any:
    entries = find_entries([str(given)], SMALL)
    return planned_job(Place.of(str(out)), settings, RunSettings(part_bytes=3 * 9 * 64 * 64), entries)


def assert_is(row: dict[str, Any], result: SceneResult) -> None:
    assert (row["width"], row["height"]) == (result.found.picture_width, result.found.picture_height)
    np.testing.assert_allclose(row["boxes"], result.found.boxes, atol=1e-3)
    np.testing.assert_allclose(row["confidences"], result.found.confidences, atol=1e-5)


def test_scenes_are_what_detect_scene_finds_though_many_chunks_have_their_windows(
    scenes: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with jobs(scenes, out, settings) as job:
        shares = [chunk for chunk in job.chunks if chunk.kind == "windows"]
        assert any(len({entry.source for entry in chunk.entries}) > 1 for chunk in shares)  # batches of several scenes
        assert max(len(chunk.windows) for chunk in job.chunks) > 1  # a scene in several chunks
        parts = detect_here(job)
    assert sum(part.pictures for part in parts) == 3
    rows = rows_in(out)
    for row, path in zip(rows, sorted(scenes.iterdir()), strict=True):
        result = expected(settings, path)
        assert row["source"] == str(path)
        assert_is(row, result)
        windows = [one for one in window_rows(out) if one["source"] == str(path)]
        assert len(windows) == result.tiles + result.empty - 1  # the whole scene is no window
        assert row["error"] is None


def window_rows(out: Path) -> list[dict[str, Any]]:
    return [row for part in sorted((out / "windows").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]


def test_the_next_run_does_the_shares_that_are_missing_and_then_the_scene(
    scenes: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with jobs(scenes, out, settings) as job:
        detect_here(job, most=2)
        ids = [chunk.id for chunk in job.left]
    with jobs(scenes, out, settings) as job:
        assert [chunk.id for chunk in job.left] == ids[2:]
        detect_here(job)
    for row, path in zip(rows_in(out), sorted(scenes.iterdir()), strict=True):
        assert_is(row, expected(settings, path))
    for path in (out / "windows").iterdir():  # nobody needs them any more
        path.unlink()
    with jobs(scenes, out, settings) as job:
        assert job.left == []


def test_metres_and_bands_are_those_of_a_scene(run: Run, scenes: Path, settings: BatchSettings, tmp_path: Path) -> None:
    wishes = SceneWishes(bands=(2,), gsd=0.2, min_metres=1)
    wished = BatchSettings.of(settings.detector, scenes=wishes)
    run([scenes / "a.tif"], tmp_path / "out", settings=wished, search=Search(scenes=wishes))
    [row] = rows_in(tmp_path / "out")
    assert_is(row, expected(wished, scenes / "a.tif"))


def test_a_damaged_window_is_told_beside_the_boxes_of_the_others(
    run: Run, settings: BatchSettings, tmp_path: Path
) -> None:
    path = write_tiff(tmp_path / "damaged.tif", noise(height=600, width=600), compress="deflate", **MAP)
    data = bytearray(path.read_bytes())
    data[-30_000:] = bytes(30_000)
    path.write_bytes(data)
    result = expected(settings, path)
    assert result.damaged
    run([path], tmp_path / "out", settings=settings, search=SMALL)
    rows = rows_in(tmp_path / "out")
    [good] = [row for row in rows if row["error"] is None]
    [bad] = [row for row in rows if row["error"] is not None]
    assert_is(good, result)
    assert bad["error"].startswith(f"{len(result.damaged)} of its windows cannot be read, the first at ")
    path.write_bytes(write_tiff(tmp_path / "whole.tif", noise(height=600, width=600), compress="deflate").read_bytes())
    assert run([path], tmp_path / "out", settings=settings, search=SMALL) == []
    run([path], tmp_path / "out", settings=settings, search=SMALL, retry_failed=True)
    assert [row["error"] for row in rows_in(tmp_path / "out")] == [None]


@pytest.mark.parametrize("broken", [b"II*\0", b"no TIFF"])
def test_a_scene_that_cannot_be_opened_is_a_row_with_its_error(
    run: Run, scenes: Path, settings: BatchSettings, tmp_path: Path, broken: bytes
) -> None:
    (scenes / "a.tif").write_bytes(broken + bytes(100))
    wishes = SceneWishes(bands=(1,))
    wished = BatchSettings.of(settings.detector, scenes=wishes)
    run([scenes], tmp_path / "out", settings=wished, search=Search(scenes=wishes))
    bad, *others = rows_in(tmp_path / "out")
    assert bad["source"] == str(scenes / "a.tif")
    assert bad["error"]
    assert [row["error"] for row in others] == [None, None]


@pytest.mark.parametrize(
    ("height", "left", "share_bytes"),
    [(200, 1, 3 << 14), (200, 2, 3 << 14), (210, 1, 3 << 14), (100, 1, 64 << 20)],
    ids=["same size", "same size, share left", "larger", "smaller, in one share"],
)
def test_a_scene_that_changes_while_the_job_runs_is_an_error(
    scenes: Path,
    settings: BatchSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    height: int,
    left: int,
    share_bytes: int,
) -> None:
    monkeypatch.setattr(windows_module, "SHARE_BYTES", share_bytes)
    out = tmp_path / "out"
    with jobs(scenes / "a.tif", out, settings) as job:
        assert len(job.left) > left
        detect_here(job, most=len(job.left) - left)
    replaced(scenes / "a.tif", height)
    with jobs(scenes / "a.tif", out, settings) as job:
        detect_here(job)
    [row] = rows_in(out)
    assert "not the one that the job began with" in row["error"]
    assert row["boxes"] == []
    with planned_again(scenes / "a.tif", out, settings) as job:
        detect_here(job)
    [row] = rows_in(out)
    assert_is(row, expected(settings, scenes / "a.tif"))


def replaced(path: Path, height: int) -> None:
    """Makes another scene of a file."""
    later_ns = path.stat().st_mtime_ns + 2 * 10**9  # some disks' clocks have steps
    write_tiff(path, 255 - noise(height=height, width=300), **MAP)
    os.utime(path, ns=(later_ns, later_ns))


def test_a_scene_that_changes_while_it_is_merged_is_an_error(
    scenes: Path, settings: BatchSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SceneWindows.read_whole

    def late(self: SceneWindows, average: Any = None) -> Any:
        os.utime(scenes / "b.tif", ns=(1, 1))
        return whole(self, average)

    monkeypatch.setattr(SceneWindows, "read_whole", late)
    with jobs(scenes / "b.tif", tmp_path / "out", settings) as job:
        detect_here(job)
    [row] = rows_in(tmp_path / "out")
    assert "not the one that the job began with" in row["error"]


def test_windows_of_an_older_release_are_not_read_again(scenes: Path, settings: BatchSettings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with jobs(scenes, out, settings) as job:
        detect_here(job, most=2)
        left = len(job.left) - 2
    for path in (out / "windows").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["scene", "stamp"]), path)
    with jobs(scenes, out, settings) as job:
        assert len(job.left) == left
        detect_here(job)
    for row, path in zip(rows_in(out), sorted(scenes.iterdir()), strict=True):
        assert_is(row, expected(settings, path))


def test_scenes_whose_names_are_printed_alike_are_not_mixed(
    scenes: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    entries = [replace(entry, source="alike.tif") for entry in find_entries([str(scenes)], SMALL)]
    run = RunSettings(part_bytes=64 << 20)  # all windows in one part
    with planned_job(Place.of(str(tmp_path / "out")), settings, run, entries) as job:
        parts = detect_here(job)
    assert len({part.id for part in parts}) == len(parts) == 4
    rows = sorted(rows_in(tmp_path / "out"), key=lambda row: row["name"])
    for row, path in zip(rows, sorted(scenes.iterdir()), strict=True):
        assert_is(row, expected(settings, path))


def test_a_share_of_a_scene_that_has_grown_is_not_read_but_cut_anew(
    scenes: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole = (scenes / "a.tif").read_bytes()
    (scenes / "a.tif").write_bytes(whole[:8] + bytes(1 << 21))  # above the limit, and no scene
    with jobs(scenes / "a.tif", out, settings) as job:
        assert [len(chunk.entries) for chunk in job.left] == [1, 1]
    (scenes / "a.tif").write_bytes(whole)
    with jobs(scenes / "a.tif", out, settings) as job:
        detect_here(job)
    [row] = rows_in(out)
    assert "run again with --retry-failed" in row["error"]
    assert window_rows(out) == []
    with planned_again(scenes / "a.tif", out, settings) as job:
        assert sum(len(chunk.entries) for chunk in job.left) > 5
        detect_here(job)
    [row] = rows_in(out)
    assert_is(row, expected(settings, scenes / "a.tif"))


def test_a_damaged_part_of_windows_is_an_error_of_its_scene_and_can_be_mended(
    scenes: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with jobs(scenes / "a.tif", out, settings) as job:
        detect_here(job, most=len(job.left) - 1)
    [first, *_] = (out / "windows").iterdir()
    first.write_bytes(first.read_bytes()[:100])
    with jobs(scenes / "a.tif", out, settings) as job:
        detect_here(job)
    [row] = rows_in(out)
    assert f"{first.name} cannot be read" in row["error"]
    with planned_again(scenes / "a.tif", out, settings) as job:
        detect_here(job)
    [row] = rows_in(out)
    assert_is(row, expected(settings, scenes / "a.tif"))


def planned_again(given: Path, out: Path, settings: BatchSettings) -> Any:
    entries = find_entries([str(given)], SMALL)
    return planned_job(Place.of(str(out)), settings, RunSettings(retry_failed=True), entries)
