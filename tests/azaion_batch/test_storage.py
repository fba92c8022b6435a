"""Storage on a disk: whatever a file is called, and each once. Buckets have tests of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azaion_batch.storage import Place
from azaion_engine.errors import InvalidParameterError
from tests.azaion_batch.conftest import Run


def test_a_folder_s_files_come_in_order_and_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("a", "b/c/d", "z"):
        (tmp_path / name).write_bytes(b"xy")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    folder = Place.of(str(tmp_path))
    assert [(file.path, file.size) for file in folder.files()] == [
        (f"{tmp_path}/{name}", 2) for name in ("a", "b/c/d", "z")
    ]
    assert [file.path for file in folder.files(recursive=False)] == [f"{tmp_path}/a", f"{tmp_path}/z"]
    assert list(Place.of(f"{tmp_path}/none").files()) == []


def test_what_is_no_folder_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        list(Place.of(f"{tmp_path}/file").files())


@pytest.mark.parametrize("name", ["nowhere", "", "a\0b"])
def test_a_stamp_is_of_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        (Place.of(str(tmp_path)) / name).stamp()


def test_parquet_files_and_outputs_may_have_names_that_are_not_utf_8(run: Run, pictures: Path, tmp_path: Path) -> None:
    folder, out = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/\xe9.parquet", b"/out \xe9"))
    os.mkdir(folder)
    pq.write_table(pa.table({"bytes": [(pictures / "1.png").read_bytes()]}), tmp_path / "rows")
    os.rename(tmp_path / "rows", f"{folder}/rows \udce9.parquet")
    [part] = run([folder], out)
    assert (part.pictures, part.failures) == (1, 0)
    assert run([folder], out) == []
    [row] = pq.read_table(pa.PythonFile(open(f"{out}/parts/{part.id}.parquet", "rb"))).to_pylist()  # noqa: SIM115
    assert row["source"] == f"{tmp_path}/\\xe9.parquet/rows \\xe9.parquet#0"
    assert row["name"] == "rows \\xe9_000000.jpg"


@pytest.mark.parametrize("address", ["s3://archive/\udce9.png", "s3://archive/\udce9/*.png"])
def test_an_address_that_is_not_utf_8_is_refused(address: str) -> None:
    with pytest.raises(InvalidParameterError, match=r"expected an address in UTF-8, given 's3://archive/\\\\xe9"):
        Place.of(address)
    with pytest.raises(InvalidParameterError, match="expected an address in UTF-8"):
        Place("s3://archive", "") / "\udce9"


@pytest.mark.parametrize("address", ["s3://archive//day", "s3://archive/day//1.png?region=x"])
def test_an_address_with_an_empty_part_is_refused_in_s3(address: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"expected an address with one / .* {address.partition('?')[0]!r}"):
        Place.of(address)
    assert Place.of("s3://archive/day//").path == "day"
