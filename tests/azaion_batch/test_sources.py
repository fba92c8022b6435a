"""Sources: lists, Parquet files, videos and scenes become rows; folders and patterns are those of `azaion detect`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azaion_batch.settings import BatchSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_engine import Detector
from azaion_engine.errors import InvalidParameterError
from azaion_engine.files.sources import Source, pictures_of
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.detecting import detect_scene
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import SceneOptions
from tests.azaion_batch.conftest import Run, rows_in
from tests.azaion_engine.files.test_sources import write_video
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff


def found(*given: Path | str, search: Search | None = None) -> list[str]:
    return [entry.source for entry in find_entries([str(one) for one in given], search or Search())]


def expected(settings: BatchSettings, picture: Any) -> list[list[float]]:
    with Detector.open(settings.detector) as detector:
        boxes: list[list[float]] = detector.detect(picture)[0].boxes.tolist()
    return boxes


def test_each_source_comes_once_whatever_names_it(pictures: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"# a comment\n\npictures/1.png\n{pictures}/2.png\n")
    assert found(pictures / "1.png", listed, f"{pictures}/[12].png") == [str(pictures / f"{n}.png") for n in (1, 2)]


def test_a_file_that_a_list_names_and_that_is_not_there_is_a_row(run: Run, pictures: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("pictures/1.png\npictures/gone.png\n")
    run([listed], tmp_path / "out")
    good, gone = rows_in(tmp_path / "out")
    assert good["error"] is None
    assert "cannot be read: No such file" in gone["error"]


def test_a_link_in_a_folder_that_leads_nowhere_is_a_row(run: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "9.png").symlink_to("not fetched")
    run([pictures], tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    assert [row["error"] for row in rows] == [None] * 9 + ["cannot be read: No such file or directory"]


def test_a_pipe_or_a_device_is_a_row_with_an_error(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    run([tmp_path / "pipe.jpg", "/dev/zero"], tmp_path / "out")
    why = "expected a file, given a device, pipe or socket"
    assert [row["error"] for row in rows_in(tmp_path / "out")] == [why] * 2


def test_one_bad_line_of_a_list_does_not_refuse_the_others(run: Run, pictures: Path, tmp_path: Path) -> None:
    lines = [b"\xef\xbb\xbfpictures/1.png\r", b"pictures/1.png", b"\xff.png", b"pictures/none*.png", b"list.txt"]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    lines += [
        b"ftp://host/a.png",
        b"s3://name:hunter2@bucket/b.png",
        b"broken.parquet",
        b"./pictures/../pictures/2.png",
    ]
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\n".join(lines))
    run([listed], tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    errors = {Path(row["source"]).name: row["error"] for row in rows}
    assert len(rows) == len(errors) == 8
    assert [name for name, error in errors.items() if error is None] == ["1.png", "2.png"]
    assert "names itself" in errors["list.txt"]
    assert "no picture or video" in errors["none*.png"]
    assert "is no Parquet file" in errors["broken.parquet"]
    assert "cannot be read" in errors["\\xff.png"]
    assert "hunter2" not in str(rows)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("pictures/1.png\n".encode("utf-16"))
    with pytest.raises(InvalidParameterError, match="expected a list in UTF-8"):
        found(tmp_path / "list.txt")


def test_names_that_are_no_utf_8_and_have_line_breaks_are_rows(run: Run, pictures: Path, tmp_path: Path) -> None:
    names = [b"\xff\xfe.png", b"\\xff\\xfe.png", b"new\nline.png", b"#.png", b" .png"]  # two look alike when printed
    folder = tmp_path / "names"
    folder.mkdir()
    for index, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes((pictures / f"{index}.png").read_bytes())
    run([folder], tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    assert sorted(row["name"] for row in rows) == sorted([r"\xff\xfe.png"] * 2 + ["new\nline.png", "#.png", " .png"])
    assert {row["height"] for row in rows} == {40, 41, 42, 43, 44}
    assert run([folder], tmp_path / "out") == []


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int32(), pa.string()), pa.string_view(), pa.large_string()])
def test_paths_of_any_type_of_text_are_read(pictures: Path, tmp_path: Path, kind: pa.DataType) -> None:
    file = tmp_path / "index.parquet"
    pq.write_table(pa.table({"path": pa.array(["pictures/2.png", "ftp://host/a.png"]).cast(kind)}), file)
    assert found(file) == [str(pictures / "2.png"), "ftp://host/a.png"]


def test_a_folder_of_parquet_files_is_read_and_a_job_s_own_parts_are_not(
    run: Run, pictures: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.parquet"
    table.mkdir()
    for index in range(2):
        pq.write_table(
            pa.table({"bytes": pa.array([(pictures / f"{index}.png").read_bytes()])}), table / f"{index}.parquet"
        )
    run([table], table / "out")
    assert [row["source"] for row in rows_in(table / "out")] == [
        f"{table / name}#0" for name in ("0.parquet", "1.parquet")
    ]
    assert run([table], table / "out") == []


@pytest.mark.parametrize("text", ["", "-", "nowhere.png", "ftp://host/a.png"])
def test_what_names_nothing_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidParameterError):
        found(text)


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_rows_of_a_parquet_file_with_bytes(
    run: Run, settings: BatchSettings, pictures: Path, tmp_path: Path, form: str
) -> None:
    data = [(pictures / f"{index}.png").read_bytes() for index in range(9)]
    values: list[Any] = [*data[:7], None, b"broken"]
    column = pa.array(values) if form == "bytes" else pa.array([{"bytes": one, "path": one and "x"} for one in values])
    file = tmp_path / "archive.parquet"
    pq.write_table(pa.table({"label": list(range(9)), "image": column}), file, row_group_size=2)
    run([file], tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    assert [row["source"] for row in rows] == [f"{file}#{index}" for index in range(9)]
    assert [row["error_code"] for row in rows[7:]] == ["picture_undecodable", "not_a_picture"]
    np.testing.assert_allclose(rows[5]["boxes"], expected(settings, data[5]), atol=1e-3)


def test_paths_of_a_parquet_file_are_relative_to_it(run: Run, pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.parquet"
    pq.write_table(pa.table({"path": ["pictures/2.png", str(pictures / "3.png"), None]}), file)
    run([file], tmp_path / "out")
    rows = {row["source"]: row["error"] for row in rows_in(tmp_path / "out")}
    assert rows == {
        str(pictures / "2.png"): None,
        str(pictures / "3.png"): None,
        f"{file}#2": "the row has no path",
    }


def test_a_parquet_file_without_pictures_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"number": [1]}), file)
    with pytest.raises(InvalidParameterError, match=r"expected a column of bytes .*given number"):
        found(file)
    file.write_bytes(b"no parquet at all")
    with pytest.raises(InvalidParameterError, match="is no Parquet file"):
        found(file)


def test_frames_of_a_video_are_rows(run: Run, settings: BatchSettings, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.avi")
    every_other = BatchSettings.of(settings.detector, every=2)
    run([video], tmp_path / "out", settings=every_other)
    rows = rows_in(tmp_path / "out")
    items = list(pictures_of(Source(str(video), "clip.avi"), 2))
    assert [(row["frame"], row["time_s"], row["name"]) for row in rows] == [
        (item.frame, item.time_s, item.name) for item in items
    ]
    for row, item in zip(rows, items, strict=True):
        np.testing.assert_allclose(row["boxes"], expected(settings, item.load()), atol=1e-3)


def test_a_video_that_breaks_off_gives_its_frames_and_says_so(run: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.avi", frames=30)
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    [part] = run([video], tmp_path / "out")
    assert part.pictures > 0
    assert part.failures == 1
    [failed] = [row for row in rows_in(tmp_path / "out") if row["error"]]
    assert "breaks off" in failed["error"]


def test_a_large_tiff_is_read_in_windows_and_is_one_row(run: Run, settings: BatchSettings, tmp_path: Path) -> None:
    scene = write_tiff(tmp_path / "scene.tif", noise(height=200, width=300), crs="EPSG:32633", transform=UTM33)
    small = BatchSettings.of(settings.detector.model_copy(update={"max_picture_pixels": 10_000}))
    run([scene], tmp_path / "out", settings=small, search=Search(limits=PictureLimits(1 << 20, 10_000)))
    [row] = rows_in(tmp_path / "out")
    assert (row["width"], row["height"]) == (300, 200)
    with Detector.open(small.detector) as detector, Scene.open(scene) as opened:
        result = detect_scene(detector, opened, SceneOptions(small.detector.tiles))
    np.testing.assert_allclose(row["boxes"], result.found.boxes, atol=1e-3)
