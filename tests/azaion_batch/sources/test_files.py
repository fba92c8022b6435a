"""Kinds of files: whatever names a TIFF, it follows the wishes for scenes, and what cannot follow them says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.files import SceneWishes
from tests.azaion_batch.conftest import write_picture
from tests.azaion_engine.scenes.files import noise, write_tiff

WISHES = Search(scenes=SceneWishes(bands=(1,)))
SMALL = Search(limits=PictureLimits(1 << 20, 5_000))


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "a.tif", noise(height=100, width=120))


def kinds(search: Search, *given: Path) -> list[str]:
    return [entry.kind for entry in find_entries([str(one) for one in given], search)]


@pytest.mark.parametrize("search", [WISHES, SMALL])
def test_a_tiff_is_a_scene_whatever_names_it_and_whatever_it_is_called(
    search: Search, tiff: Path, tmp_path: Path
) -> None:
    called = [shutil.copy(tiff, tmp_path / name) for name in ("plain", "b.jpg")]
    (tmp_path / "list.txt").write_text("a.tif\n")
    pq.write_table(pa.table({"path": ["a.tif"]}), tmp_path / "index.parquet")
    assert kinds(search, tiff) == kinds(search, tmp_path / "list.txt") == ["tiled"]
    assert kinds(search, tmp_path / "index.parquet") == ["tiled"]
    assert kinds(search, *called) == ["tiled", "tiled"]
    assert kinds(Search(), tiff, *called) == ["picture"] * 3


def test_a_tiff_that_comes_later_follows_the_wishes_too(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("late.tif\n")
    pq.write_table(pa.table({"path": ["later.tif"]}), tmp_path / "index.parquet")
    assert kinds(WISHES, tmp_path / "list.txt", tmp_path / "index.parquet") == ["tiled", "tiled"]


def test_a_tiff_in_a_bucket_whose_size_is_not_known_is_no_scene_for_that(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["s3://archive/a.tif"]}), tmp_path / "index.parquet")
    assert kinds(SMALL, tmp_path / "index.parquet") == ["picture"]


def test_a_picture_that_cannot_follow_the_wishes_is_no_picture(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", 1)
    [entry] = find_entries([str(tmp_path / "a.png")], WISHES)
    assert entry.kind == "unreadable"
    assert entry.why == "expected a TIFF, since bands or lengths in metres are asked for, given PNG"
