"""Documents: the same as `azaion detect` writes of the same pictures, and the failures beside."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azaion_batch.documents import Document, write_document
from azaion_batch.job import planned_job
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages.reading import Reader
from azaion_batch.storage import Place
from azaion_engine.errors import ConfigurationError
from azaion_engine.scenes.files import SceneWishes
from tests.azaion_batch.conftest import Run, detect_here, lines_of, write_picture
from tests.azaion_engine.files.test_sources import write_video
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff


@pytest.fixture
def archive(pictures: Path) -> Path:
    write_video(pictures / "clip.avi")
    write_tiff(pictures / "map.tif", noise(height=100, width=120), crs="EPSG:32633", transform=UTM33)
    return pictures


def write(kind: Document, settings: BatchSettings, out: Path, *given: Path) -> Path:
    entries = find_entries([str(one) for one in given], Search())
    with planned_job(Place.of(str(out)), settings, RunSettings(part_pictures=4), entries) as job:
        detect_here(job)
        return Path(write_document(job, kind).path)


@pytest.mark.parametrize("kind", ["jsonl", "coco", "geojson"])
def test_a_document_is_that_of_azaion_detect(
    kind: Document, azaion: Callable[..., Any], archive: Path, settings: BatchSettings, tiny: Path, tmp_path: Path
) -> None:
    made = write(kind, settings, tmp_path / "out", archive)
    own = tmp_path / "own"
    azaion("detect", archive, "-m", tiny, "--engine", "onnx", "-c", 0, "--format", kind, "-o", own)
    if kind == "jsonl":
        assert by_source(lines_of(made)) == by_source(lines_of(own))
    else:
        assert by_source(json.loads(made.read_text())) == by_source(json.loads(own.read_text()))
    assert not (tmp_path / "out" / "failures.jsonl").exists()


def by_source(document: Any) -> Any:
    """Returns a document without what depends on the order of the pictures: videos make parts of their own."""
    if "annotations" in document:
        names = {image["id"]: image["file_name"] for image in document["images"]}
        rows = [{**one, "id": 0, "image_id": names[one["image_id"]]} for one in document["annotations"]]
        images = [{**one, "id": 0} for one in document["images"]]
        return sorted(map(json.dumps, rows)), sorted(map(json.dumps, images)), document["categories"]
    lines = document if isinstance(document, list) else document["features"]
    return sorted(map(json.dumps, lines))


def test_failures_are_beside_a_coco_document_and_in_json_lines(
    pictures: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    (pictures / "3.png").write_bytes(b"broken")
    write("coco", settings, tmp_path / "out", pictures)
    [failure] = lines_of(tmp_path / "out" / "failures.jsonl")
    assert failure["source"] == str(pictures / "3.png")
    assert failure["error"]["code"] == "not_a_picture"
    lines = lines_of(write("jsonl", settings, tmp_path / "out", pictures))
    assert [line for line in lines if "error" in line] == [failure]
    assert len(lines) == 9


def test_a_document_of_a_job_that_ended_early_has_what_is_there(
    run: Run, pictures: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    run([pictures], tmp_path / "out", most=1)
    entries = find_entries([str(pictures)], Search())
    with planned_job(Place.of(str(tmp_path / "out")), settings, RunSettings(), entries) as job:
        assert len(lines_of(Path(write_document(job, "jsonl").path))) == 4


def test_coco_tells_pictures_of_one_name_apart_whatever_names_them(
    pictures: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(pictures / "8.png", other / "1.png")
    listed = tmp_path / "list.txt"
    listed.write_text("pictures/1.png\nother/1.png\n")
    assert file_names(write("coco", settings, tmp_path / "list", listed)) == ["pictures/1.png", "other/1.png"]
    write("coco", settings, tmp_path / "out", pictures / "1.png")
    write("coco", settings, tmp_path / "out", other)
    both = write("coco", settings, tmp_path / "out", pictures / "1.png", other)
    assert file_names(both) == ["pictures/1.png", "other/1.png"]


def test_coco_tells_frames_of_two_videos_apart(settings: BatchSettings, tmp_path: Path) -> None:
    videos = [write_video(tmp_path / name, frames=1) for name in ("clip.avi", "clip.mov.avi", "clip.mp4")]
    shutil.copy(videos[0], tmp_path / "clip.mp4")
    names = file_names(write("coco", settings, tmp_path / "out", *videos))
    assert names == ["clip.avi_000000.jpg", "clip.mov_000000.jpg", "clip.mp4_000000.jpg"]


def test_coco_tells_rows_of_a_table_from_pictures_called_alike(
    pictures: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    table = pictures / "x.parquet"
    pq.write_table(pa.table({"bytes": [(pictures / "1.png").read_bytes()]}), table)
    assert file_names(write("coco", settings, tmp_path / "alone", table)) == ["x_000000.jpg"]
    shutil.copy(pictures / "2.png", pictures / "x_000000.jpg")
    both = write("coco", settings, tmp_path / "out", pictures / "x_000000.jpg", table)
    assert file_names(both) == ["x_000000.jpg", "x.parquet/x_000000.jpg"]


def test_a_document_has_what_this_run_is_given_and_nothing_of_earlier_ones(
    pictures: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    (pictures / "3.png").write_bytes(b"broken")
    write("coco", settings, tmp_path / "out", pictures)
    assert (tmp_path / "out" / "failures.jsonl").exists()
    one = write("coco", settings, tmp_path / "out", pictures / "2.png")  # in one part with the broken one
    assert file_names(one) == ["2.png"]
    assert not (tmp_path / "out" / "failures.jsonl").exists()


@pytest.mark.parametrize("scenes", [SceneWishes(), SceneWishes(bands=(1, 2, 3))], ids=["picture", "scene"])
def test_a_picture_that_is_gone_is_a_failure_of_the_map_and_has_no_boxes_without_a_place(
    settings: BatchSettings, tmp_path: Path, scenes: SceneWishes
) -> None:
    gone, stays, table = (tmp_path / name for name in ("a.tif", "b.tif", "rows.parquet"))
    for path in (gone, stays):
        write_tiff(path, noise(height=100, width=120), crs="EPSG:32633", transform=UTM33)
    pq.write_table(pa.table({"bytes": [stays.read_bytes()]}), table)
    given = [gone, stays] if scenes.given else [gone, stays, table]  # a row of bytes is no scene
    wished = BatchSettings.of(settings.detector, scenes=scenes)
    entries = list(find_entries([str(path) for path in given], Search(scenes=scenes)))
    told: list[tuple[str, str, str]] = []
    with planned_job(Place.of(str(tmp_path / "out")), wished, RunSettings(), entries) as job:
        detect_here(job)
        gone.unlink()
        table.unlink()
        made = Path(write_document(job, "geojson", lambda *failure: told.append(failure)).path)
    features = json.loads(made.read_text())["features"]
    assert {one["properties"]["source"] for one in features} == {str(stays)}
    assert all(one["geometry"] for one in features)
    failures = lines_of(tmp_path / "out" / "failures.jsonl")
    sources = {str(gone)} if scenes.given else {str(gone), f"{table}#0"}
    assert {one["source"] for one in failures} == {source for source, _, _ in told} == sources
    assert all("its place on the map is not known" in one["error"]["message"] for one in failures)


def test_a_map_reads_a_table_once_for_all_rows_of_a_part(
    settings: BatchSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    map_ = write_tiff(tmp_path / "map.tif", noise(height=100, width=120), crs="EPSG:32633", transform=UTM33)
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"bytes": [map_.read_bytes()] * 9}), table)
    read = Reader.read
    reads: list[int] = []
    monkeypatch.setattr(Reader, "read", lambda self, entries: reads.append(len(entries)) or read(self, entries))
    features = json.loads(write("geojson", settings, tmp_path / "out", table).read_text())["features"]
    assert reads == [4, 4, 1] * 2  # for the boxes, and for the map
    assert {one["properties"]["source"] for one in features} == {f"{table}#{number}" for number in range(9)}
    assert all(one["geometry"] for one in features)


def test_a_part_whose_columns_are_of_other_types_is_named(
    settings: BatchSettings, pictures: Path, tmp_path: Path
) -> None:
    write("coco", settings, tmp_path / "out", pictures)
    part = next((tmp_path / "out" / "parts").iterdir())
    rows = pq.read_table(part)
    pq.write_table(rows.set_column(rows.column_names.index("class_ids"), "class_ids", rows["name"]), part)
    with pytest.raises(ConfigurationError, match=rf"{part.name} is damaged: .*; remove it and run again"):
        write("coco", settings, tmp_path / "out", pictures)


def test_a_document_has_the_given_one_of_two_pictures_that_are_printed_alike(
    settings: BatchSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "alike"
    folder.mkdir()
    paths = [Path(os.fsdecode(os.fsencode(folder) + b"/" + name)) for name in (rb"\xe9.png", b"\xe9.png")]
    for index, path in enumerate(paths):
        write_picture(tmp_path / "one.png", index)
        (tmp_path / "one.png").rename(path)
    write("coco", settings, tmp_path / "out", folder)
    for index, path in enumerate(paths):
        [image] = json.loads(write("coco", settings, tmp_path / "out", path).read_text())["images"]
        assert image["height"] == 40 + index


def file_names(document: Path) -> list[str]:
    return [image["file_name"] for image in json.loads(document.read_text())["images"]]
