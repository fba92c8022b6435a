"""files_in and files_matching: each file once whatever links lead to, hidden names, folders that refuse."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

import pytest

from azaion_engine.files.sources import find_sources
from azaion_engine.files.walking import Unreadable, files_in, files_matching


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", ".hidden.jpg", "deep/c.jpg", "deep/deeper/d.jpg", ".cache/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def matching(pattern: str) -> list[str]:
    return [str(found) for found in files_matching(pattern)]


@pytest.mark.parametrize(
    "pattern", ["*", "*.jpg", "*/*.jpg", "**/*.jpg", "**/deep*/*", ".*", "**", "[ab].*", "deep/?.jpg"]
)
def test_patterns_match_the_files_that_glob_does(tree: Path, pattern: str) -> None:
    expected = {path for path in glob.glob(f"{tree}/{pattern}", recursive=True) if os.path.isfile(path)}
    found = matching(f"{tree}/{pattern}")
    assert set(found) == expected
    assert len(found) == len(expected)


def test_relative_patterns_stay_relative(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert matching("deep/*.jpg") == ["deep/c.jpg"]


def test_loops_of_links_give_each_file_once_by_its_real_path(tree: Path) -> None:
    (tree / "deep" / "again").symlink_to(tree)
    (tree / "deep" / "deeper" / "up").symlink_to(tree / "deep")
    (tree / "a_link").symlink_to(tree / "deep")
    found = matching(f"{tree}/**/*.jpg")  # glob.glob would take hours: 40 levels of three links
    assert found == [f"{tree}/{name}" for name in ("a.jpg", "deep/c.jpg", "deep/deeper/d.jpg")]


def test_a_folder_beyond_a_link_is_entered(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "f.jpg").write_bytes(b"x")
    (tree / "link").symlink_to(other)
    assert f"{tree}/link/f.jpg" in matching(f"{tree}/**/*.jpg")


def test_links_that_lead_nowhere_are_files_that_cannot_be_read(tree: Path) -> None:
    (tree / "c.jpg").symlink_to("not fetched")
    (tree / "d.jpg").symlink_to("d.jpg")
    (tree / "e.jpg").symlink_to(tree / "deep")
    os.mkfifo(tree / "f.jpg")
    assert (
        matching(f"{tree}/[c-z].jpg")
        == list(files_in(tree, recursive=False))[-2:]
        == [
            f"{tree}/c.jpg",
            f"{tree}/d.jpg",
        ]
    )
    assert [source.name for source in find_sources([str(tree)], recursive=False)][-2:] == ["c.jpg", "d.jpg"]


def test_folders_that_cannot_be_read_are_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    told = Unreadable(tree / "deep", "Permission denied")
    assert list(files_in(tree, recursive=True))[-2:] == [f"{tree}/b.png", told]
    assert told in list(files_matching(f"{tree}/**/*.jpg"))
    assert told in list(files_matching(f"{tree}/deep/*.jpg"))
