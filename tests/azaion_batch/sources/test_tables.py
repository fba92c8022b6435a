"""Parquet files as sources: every row is an entry of its own, and a file that is no source is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azaion_batch.job import planned_job
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.entry import Entry
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.storage import Place
from azaion_engine.errors import InvalidParameterError
from azaion_engine.scenes.files import SceneWishes
from tests.azaion_batch.conftest import Run, rows_in


def entries_of(file: Path, search: Search | None = None) -> list[Entry]:
    return list(find_entries([str(file)], search or Search()))


def test_every_row_without_a_path_is_an_entry(tmp_path: Path) -> None:
    file = tmp_path / "index.parquet"
    pq.write_table(pa.table({"path": [None, "a.png", None, ""]}), file)
    found = entries_of(file)
    assert [entry.source for entry in found] == [f"{file}#0", str(tmp_path / "a.png"), f"{file}#2", f"{file}#3"]
    assert [entry.why for entry in found if entry.kind == "unreadable"] == ["the row has no path"] * 3
    broken = Entry("unreadable", str(file), found[0].place, file.name)  # as it would be, were the file damaged
    assert broken.identity not in {entry.identity for entry in found}


def test_paths_that_are_not_utf_8_name_files_as_bytes_do(run: Run, pictures: Path, tmp_path: Path) -> None:
    os.rename(pictures / "8.png", os.fsencode(pictures) + b"/\xe9.png")
    data = pa.array([b"pictures/\xe9.png", b"pictures/1.png"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, data.buffers())
    pq.write_table(pa.table({"path": column}), tmp_path / "index.parquet")
    run([tmp_path / "index.parquet"], tmp_path / "out")
    rows = {row["name"]: (row["height"], row["error"]) for row in rows_in(tmp_path / "out")}
    assert rows == {"\\xe9.png": (48, None), "1.png": (41, None)}


def test_a_row_counts_as_the_mean_of_its_row_group(tmp_path: Path) -> None:
    values = [b"x" * 10] * 100 + [b"x" * 10_000] * 4
    file = tmp_path / "archive.parquet"
    pq.write_table(pa.table({"bytes": values}), file, row_group_size=100, use_dictionary=False)
    sizes = [entry.size for entry in entries_of(file)]
    assert max(sizes[:100]) < 20
    assert min(sizes[100:]) > 9_999


def test_a_path_with_a_nul_is_a_row_with_an_error(run: Run, tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a\0b.mp4", "a\0b.png"]}), tmp_path / "index.parquet")
    run([tmp_path / "index.parquet"], tmp_path / "out")
    assert [row["error"] for row in rows_in(tmp_path / "out")] == ["cannot be read: embedded null byte"] * 2


def test_pictures_in_a_bucket_whose_size_nobody_knows_are_not_too_many_in_a_part(
    settings: BatchSettings, tmp_path: Path
) -> None:
    paths = [f"s3://archive/{number}.jpg" for number in range(100)]
    pq.write_table(pa.table({"path": paths}), tmp_path / "index.parquet")
    out = Place.of(str(tmp_path / "out"))
    with planned_job(out, settings, RunSettings(), entries_of(tmp_path / "index.parquet")) as job:
        assert [len(chunk.entries) for chunk in job.chunks] == [32, 32, 32, 4]


@pytest.mark.parametrize("name", ["bytes", "path"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    values = pa.array([b"x"] if name == "bytes" else ["a.png"])
    pq.write_table(pa.Table.from_arrays([values, values], names=[name, name]), tmp_path / "twice.parquet")
    with pytest.raises(InvalidParameterError, match=rf"twice\.parquet': expected one column '{name}', given 2"):
        entries_of(tmp_path / "twice.parquet")


@pytest.mark.parametrize("value", ["text", 5000, [b"x"]])
def test_a_struct_whose_bytes_are_of_another_type_is_no_column_of_bytes(tmp_path: Path, value: Any) -> None:
    file = tmp_path / "archive.parquet"
    pq.write_table(pa.table({"image": [{"bytes": value}]}), file)
    with pytest.raises(InvalidParameterError, match=r"expected a column of bytes .*given image"):
        entries_of(file)
    pq.write_table(pa.table({"image": [{"bytes": value}], "path": ["a.png"]}), file)
    assert [entry.source for entry in entries_of(file)] == [str(tmp_path / "a.png")]


def test_a_column_with_a_dot_in_its_name_is_not_that_of_a_struct(run: Run, pictures: Path, tmp_path: Path) -> None:
    one, two = ((pictures / f"{index}.png").read_bytes() for index in (1, 2))
    pq.write_table(pa.table({"image.bytes": [one], "image": [{"bytes": two}]}), tmp_path / "archive.parquet")
    run([tmp_path / "archive.parquet"], tmp_path / "out")
    assert [row["height"] for row in rows_in(tmp_path / "out")] == [42]
    rows = [{"bytes": None, "path": str(pictures / "3.png")}]
    pq.write_table(
        pa.table({"image.bytes": [one], "image": rows}), tmp_path / "archive.parquet", write_statistics=["image.bytes"]
    )
    assert [entry.source for entry in entries_of(tmp_path / "archive.parquet")] == [str(pictures / "3.png")]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("group_rows", [1, 2, 6])
def test_a_row_of_a_struct_without_bytes_is_the_file_that_its_path_names(
    run: Run, pictures: Path, tmp_path: Path, group_rows: int, statistics: bool
) -> None:
    data = (pictures / "2.png").read_bytes()
    rows = [
        {"bytes": data, "path": "name.png"},
        {"bytes": None, "path": "pictures/1.png"},
        {"bytes": None, "path": None},
        None,
        {"bytes": None, "path": str(pictures / "3.png")},
        {"bytes": data, "path": None},
    ]
    file = tmp_path / "archive.parquet"
    table = pa.table({"image": pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))})
    pq.write_table(table, file, row_group_size=group_rows, write_statistics=statistics)
    found = entries_of(file)
    named = [None, pictures / "1.png", None, None, pictures / "3.png", None]
    assert [entry.source for entry in found] == [str(path or f"{file}#{row}") for row, path in enumerate(named)]
    run([file], tmp_path / "out")
    heights = {row["source"]: row["height"] for row in rows_in(tmp_path / "out")}
    assert [heights[entry.source] for entry in found] == [42, 41, None, None, 43, 42]


@pytest.mark.parametrize("pattern", ["*.parquet", "[ab]*", "**/*"])
def test_files_that_a_pattern_matches_are_tables_as_if_they_were_named(tmp_path: Path, pattern: str) -> None:
    for name in ("a.parquet", "b[1].parquet"):
        pq.write_table(pa.table({"path": [f"{name}.png"]}), tmp_path / name)
    (tmp_path / "a.bad.parquet").write_bytes(b"PAR1")
    found = entries_of(tmp_path / pattern)
    assert [entry.place.path for entry in found if entry.kind == "picture"] == [
        f"{tmp_path}/{name}.png" for name in ("a.parquet", "b[1].parquet")
    ]
    assert [Path(entry.source).name for entry in found if entry.kind == "unreadable"] == ["a.bad.parquet"]
    with pytest.raises(InvalidParameterError, match="no picture or video"):
        entries_of(tmp_path / f"none{pattern}")


def test_one_bad_file_of_a_folder_does_not_refuse_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "table.parquet"
    folder.mkdir()
    pq.write_table(pa.table({"bytes": [b"x"]}), folder / "0.parquet")
    (folder / "1.parquet").write_bytes(b"no parquet at all")
    assert [(entry.source, entry.kind) for entry in entries_of(folder)] == [
        (f"{folder}/0.parquet#0", "row"),
        (f"{folder}/1.parquet", "unreadable"),
    ]


def test_pictures_within_a_parquet_file_cannot_follow_the_wishes_for_scenes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"bytes": [b"x"]}), tmp_path / "archive.parquet")
    with pytest.raises(InvalidParameterError, match="expected TIFF files"):
        entries_of(tmp_path / "archive.parquet", Search(scenes=SceneWishes(gsd=0.1)))


def test_the_error_of_damaged_values_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "index.parquet"
    pq.write_table(pa.table({"path": [f"{number}.png" for number in range(100)]}), file, use_dictionary=False)
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    data = bytearray(file.read_bytes())
    data[column.data_page_offset] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(OSError, match=rf"^{re.escape(repr(str(file)))}: Couldn't deserialize thrift.*$"):
        entries_of(file)


def test_a_file_whose_columns_have_no_names_in_utf_8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "index.parquet"
    pq.write_table(pa.table({"path": ["a.png"], "other": [1]}), file, store_schema=False)
    file.write_bytes(file.read_bytes().replace(b"other", b"\xff\xff\xff\xff\xff"))
    with pytest.raises(InvalidParameterError, match=r"index\.parquet' is no Parquet file: 'utf-8' codec"):
        entries_of(file)


def test_a_struct_may_have_bytes_in_no_row_and_values_that_are_written_once(
    run: Run, pictures: Path, tmp_path: Path
) -> None:
    data = (pictures / "2.png").read_bytes()
    paths = pa.array([str(pictures / "1.png"), "name.png", None])
    for index, some in enumerate((pa.nulls(3), pa.array([None, data, None]).dictionary_encode())):
        for column in (paths, paths.dictionary_encode()):
            file = tmp_path / f"{index}.parquet"
            pq.write_table(pa.table({"image": pa.StructArray.from_arrays([some, column], ["bytes", "path"])}), file)
            found = entries_of(file)
            assert found[0].source == str(pictures / "1.png")
            assert [entry.source for entry in found[2:]] == [f"{file}#2"]
    run([tmp_path / "1.parquet"], tmp_path / "out")
    assert [row["height"] for row in rows_in(tmp_path / "out")] == [42, None, 41]


def test_what_a_writer_has_not_finished_is_no_part_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "table.parquet"
    for name in ("_temporary/0/a.parquet", ".b.parquet", "day=1/c.parquet", "d.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"bytes": [b"x"]}), folder / name)
    assert [entry.name for entry in entries_of(folder)] == ["d_000000.jpg", "c_000000.jpg"]
