"""Whole files: their content, whatever the file system says of their size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from azaion_engine.system.whole_file import read_whole


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_the_content_is_the_file_s(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert read_whole(tmp_path / "file") == data


def test_a_file_that_comes_piecemeal_or_tells_no_size_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(5000)
    (tmp_path / "file").write_bytes(data)
    read = os.read
    monkeypatch.setattr(os, "read", lambda number, size: read(number, min(size, 999)))
    assert read_whole(tmp_path / "file") == data
    monkeypatch.undo()
    assert read_whole("/proc/self/status").startswith(b"Name:")  # of 0 bytes, as the system says


def test_a_check_that_refuses_the_size_is_heard_before_a_byte_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(size: int) -> None:
        raise ValueError(f"{size} bytes")

    (tmp_path / "file").write_bytes(b"abc")
    monkeypatch.setattr(os, "read", None)
    with pytest.raises(ValueError, match="3 bytes"):
        read_whole(tmp_path / "file", refuse)


@pytest.mark.parametrize(("path", "error"), [("gone", FileNotFoundError), (".", OSError), ("a\0b", ValueError)])
def test_what_is_no_file_is_an_error(path: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        read_whole(f"{tmp_path}/{path}")
