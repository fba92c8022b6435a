"""Reading rows of Parquet files: what changed or is damaged costs its own rows only, and memory stays small."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azaion_batch.plan import Chunk
from azaion_batch.sources.entry import Entry
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages import table as table_module
from azaion_batch.stages.reading import Reader
from azaion_batch.storage import Place
from azaion_engine.errors import PictureError

DATA = [bytes([65 + index]) * 50 for index in range(40)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "archive.parquet"


def write(table: Path, values: list[Any], column: str = "bytes", **how: Any) -> None:
    pq.write_table(pa.table({column: values}), table, use_dictionary=False, **how)


def planned(table: Path) -> list[Entry]:
    return list(find_entries([str(table)], Search()))


def read(entries: list[Entry]) -> list[Any]:
    """Returns bytes as they are, and errors as texts."""
    return [str(one) if isinstance(one, PictureError) else one for one in Reader(1 << 20).read(entries)]


@pytest.mark.parametrize("rows", [7, 40])
def test_any_rows_of_any_row_groups_are_found(table: Path, rows: int) -> None:
    write(table, DATA, row_group_size=rows)
    for numbers in ([0, 39], [5, 6, 7, 30], [15, 16, 17], list(range(40))):
        entries = planned(table)
        assert read([entries[number] for number in numbers]) == [DATA[number] for number in numbers]


def test_a_damaged_row_group_costs_its_own_rows_only(table: Path) -> None:
    write(table, DATA[:5], row_group_size=1, compression="zstd")
    entries = planned(table)
    offset = pq.ParquetFile(table).metadata.row_group(2).column(0).data_page_offset
    data = bytearray(table.read_bytes())
    data[offset : offset + 40] = bytes(255 - one for one in data[offset : offset + 40])
    table.write_bytes(data)
    found = read(entries)
    assert found[:2] + found[3:] == DATA[:2] + DATA[3:5]
    assert found[2].startswith("the Parquet file cannot be read: ")
    assert "\n" not in found[2]


def test_a_column_that_was_renamed_or_has_another_type_is_said(table: Path) -> None:
    write(table, DATA[:2])
    entries = planned(table)
    write(table, DATA[:2], "image")
    assert read(entries) == ["the Parquet file has no column 'bytes', as it had when the job began"] * 2
    write(table, ["text", "text"])
    assert read(entries) == ["the row has no bytes, as it had when the job began"] * 2
    write(table, DATA[:1])
    assert read(entries) == [DATA[0], "the Parquet file has fewer rows than when the job began"]


def test_a_few_rows_of_a_large_row_group_take_little_memory(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table, [bytes(100_000)] * 1000, compression="none", data_page_size=1 << 20, write_batch_size=8)
    entries = planned(table)
    sizes = []

    class Noted(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes | None:
            data = super().read(size)
            sizes.append(len(data or b""))
            return data

    monkeypatch.setattr(Place, "open", lambda place: Noted(place.path))
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert read(entries[500:510]) == [bytes(100_000)] * 10
    finally:
        pa.set_memory_pool(before)
        table_module._close()  # its rows are of the pool
    assert max(sizes) <= 1 << 23  # of 100 MB
    assert pool.max_memory() < 40_000_000


def test_a_picture_that_all_rows_have_is_not_unpacked_for_all_of_them(table: Path) -> None:
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array([b"x" * 20_000]))
    pq.write_table(pa.table({"bytes": rows}), table, store_schema=False)
    some = planned(table)[:1]
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert read(some) == [b"x" * 20_000]
    finally:
        pa.set_memory_pool(before)
        table_module._close()  # its rows are of the pool
    assert pool.max_memory() < 40_000_000


def test_the_next_rows_of_a_row_group_are_read_on_from_the_last(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table, [bytes(1000) + one for one in DATA], row_group_size=40)
    entries = planned(table)
    begun = []
    iter_batches = pq.ParquetFile.iter_batches

    def counting(parquet: Any, rows: int, **how: Any) -> Any:
        begun.append(rows)
        return iter_batches(parquet, 3, **how)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    chunks = [entries[:8], entries[8:9], entries[9:30], entries[31:]]
    assert [one[1000:] for chunk in chunks for one in read(chunk)] == DATA[:30] + DATA[31:]
    assert len(begun) == 1
    assert [one[1000:] for one in read(entries[2:4])] == DATA[2:4]  # of another run, or after a death
    write(table, [bytes(2000) + one for one in DATA])
    assert [one[2000:] for one in read(entries[4:6])] == DATA[4:6]
    assert len(begun) == 3


def test_small_rows_are_unpacked_many_at_once(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table, [b"x"] * 1000)
    asked = []
    iter_batches = pq.ParquetFile.iter_batches

    def counting(parquet: Any, rows: int, **how: Any) -> Any:
        asked.append(rows)
        return iter_batches(parquet, rows, **how)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    assert read(planned(table)[990:]) == [b"x"] * 10
    assert min(asked) > 100


def test_memory_that_is_short_is_no_failure_of_the_row(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table, [b"x"])
    entries = planned(table)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", mock.Mock(side_effect=pa.ArrowMemoryError("short")))
    with pytest.raises(MemoryError):
        read(entries)


def test_an_error_that_nobody_foresaw_is_the_row_s(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table, DATA[:3])
    chunk = Chunk("0" * 32, tuple(planned(table)))

    def fail(*given: Any) -> Any:
        raise ZeroDivisionError("of a library")

    monkeypatch.setattr(Reader, "_rows", fail)
    made = Reader(1 << 20)(pa.table({"work": [chunk.to_line()]}))
    assert made["faults"].to_pylist() == [["picture_undecodable\ncannot be read: ZeroDivisionError: of a library"] * 3]
