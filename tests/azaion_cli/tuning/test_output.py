from __future__ import annotations

import os

import pytest

from azaion_cli.tuning.output import write_whole


def test_writes_with_the_usual_mode_and_leaves_nothing_else(tmp_path):
    (tmp_path / "usual").write_text("x")
    write_whole(tmp_path / "out.yaml", "whole", replace=False)
    assert (tmp_path / "out.yaml").read_text() == "whole"
    assert (tmp_path / "out.yaml").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["out.yaml", "usual"]


def test_replaces_only_if_asked_to(tmp_path):
    (tmp_path / "out.yaml").write_text("theirs")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "out.yaml", "ours", replace=False)
    assert (tmp_path / "out.yaml").read_text() == "theirs"
    write_whole(tmp_path / "out.yaml", "ours", replace=True)
    assert (tmp_path / "out.yaml").read_text() == "ours"
    assert os.listdir(tmp_path) == ["out.yaml"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "out.yaml").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "out.yaml", "new", replace=True)
    assert (tmp_path / "out.yaml").read_text() == "old"
    assert os.listdir(tmp_path) == ["out.yaml"]
