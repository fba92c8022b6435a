"""Lists: what a line may name, and that none is lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azaion_batch.sources.entry import Entry
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries


def entries_of(listed: Path, *lines: str) -> list[Entry]:
    listed.write_text("\n".join(lines))
    return list(find_entries([str(listed)], Search()))


def test_a_line_that_names_an_empty_file_is_a_row_with_an_error(pictures: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"bytes": pa.array([], pa.binary())}), tmp_path / "empty.parquet")
    (tmp_path / "empty.lst").write_text("# nothing\n")
    found = entries_of(tmp_path / "list.txt", "empty.parquet", "pictures/1.png", "empty.lst")
    assert [(Path(entry.source).name, entry.kind) for entry in found] == [
        ("empty.parquet", "unreadable"),
        ("1.png", "picture"),
        ("empty.lst", "unreadable"),
    ]
    assert found[0].why == f"no picture or video: '{tmp_path}/empty.parquet'"


def test_lines_are_patterns_and_the_list_s_folder_is_none(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flight [1]"
    pictures.rename(folder)
    (folder / "[34].png").write_bytes((folder / "8.png").read_bytes())
    found = entries_of(folder / "list.txt", "[12].png", "[34].png", "none*.png")
    assert [entry.source for entry in found] == [
        str(folder / name) for name in ("1.png", "2.png", "[34].png", "none*.png")
    ]
    assert [entry.kind for entry in found] == ["picture"] * 3 + ["unreadable"]


def test_lists_and_tables_are_found_by_patterns_too(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lists [1]"
    folder.mkdir()
    (folder / "a.txt").write_text("../pictures/1.png\n")
    (folder / "b.txt").write_text("../pictures/2.png\nb*.txt\n")
    pq.write_table(pa.table({"path": ["../pictures/3.png"]}), folder / "c.parquet")
    expected = [f"{pictures}/{index}.png" for index in (1, 2, 3)]
    found = entries_of(folder / "all.lst", "[ab].txt", "*.parquet")
    assert [Path(entry.source).name for entry in found if entry.kind == "unreadable"] == ["b.txt"]  # names itself
    assert [entry.source for entry in found if entry.kind == "picture"] == expected
    given = [f"{tmp_path}/lists*/{name}" for name in ("a.tx[t]", "[ab].txt", "*.parquet")]
    found = list(find_entries(given, Search()))
    assert [entry.source for entry in found if entry.source in expected] == expected
    assert found[0].source.endswith("a.txt")  # a pattern of other files finds pictures


def test_the_home_folder_is_that_of_the_user_whether_or_not_the_file_is_there(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(pictures))
    expected = [str(pictures / name) for name in ("1.png", "later.png")]
    assert [entry.source for entry in entries_of(tmp_path / "list.txt", "~/1.png", "~/later.png")] == expected
    pq.write_table(pa.table({"path": ["~/1.png", "~/later.png"]}), tmp_path / "index.parquet")
    assert [entry.source for entry in find_entries([str(tmp_path / "index.parquet")], Search())] == expected
