"""Plans: parts that are told apart, and sources that are not any more what they were when they were planned."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from azaion_batch.plan import Plan
from azaion_batch.settings import BatchSettings, key_of
from azaion_batch.sources.files import Search
from azaion_engine.errors import ConfigurationError
from azaion_engine.pictures.header import PictureLimits
from tests.azaion_batch.conftest import Run, rows_in, write_picture
from tests.azaion_engine.files.test_sources import write_video
from tests.azaion_engine.scenes.files import noise, write_tiff

SMALL = Search(limits=PictureLimits(1 << 20, 5_000))


@pytest.fixture
def settings(settings: BatchSettings) -> BatchSettings:
    return BatchSettings.of(settings.detector.model_copy(update={"max_picture_pixels": 5_000}))


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """A folder with two pictures whose names are printed alike."""
    folder = tmp_path / "alike"
    folder.mkdir()
    for index, name in enumerate((rb"\xe9.png", b"\xe9.png")):
        write_picture(tmp_path / "one.png", index)
        os.rename(tmp_path / "one.png", os.fsencode(folder) + b"/" + name)
    return folder


def test_sources_that_are_printed_alike_have_parts_of_their_own(run: Run, alike: Path, tmp_path: Path) -> None:
    run([alike], tmp_path / "out", part_pictures=1)
    first, second = rows_in(tmp_path / "out")
    assert first["source"] == second["source"] == str(alike / r"\xe9.png")
    assert {first["height"], second["height"]} == {40, 41}
    assert run([alike], tmp_path / "out") == []


def test_parts_of_ordinary_names_are_called_as_in_older_releases(
    run: Run, pictures: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table({"bytes": [(pictures / f"{index}.png").read_bytes() for index in range(2)]}), table)
    video = write_video(tmp_path / "clip.avi")
    run([pictures, table, video], tmp_path / "out", part_pictures=11)
    sources = [*(str(pictures / f"{index}.png") for index in range(9)), f"{table}#0", f"{table}#1"]
    key = settings.key()
    assert {path.stem for path in (tmp_path / "out" / "parts").iterdir()} == {
        key_of([key, *sources]),
        key_of([key, str(video)]),
    }


@pytest.mark.parametrize("older", [False, True], ids=["", "planned by an older release"])
def test_a_picture_is_not_done_because_a_pipe_of_its_name_failed(
    run: Run, pictures: Path, settings: BatchSettings, tmp_path: Path, older: bool
) -> None:
    path, out = tmp_path / "a.png", tmp_path / "out"
    os.mkfifo(path)
    [part] = run([path], out)
    if older:  # the name was a hash of what is printed
        name = key_of([settings.key(), str(path)])
        [plan] = (out / "plan").iterdir()
        plan.write_text(plan.read_text().replace(part.id, name))
        (out / "parts" / f"{part.id}.parquet").rename(out / "parts" / f"{name}.parquet")
    path.unlink()
    (pictures / "1.png").rename(path)
    [part] = run([path], out)
    assert part.pictures == 1
    assert run([path], out) == []


def test_two_videos_of_one_part_in_a_plan_of_an_older_release_are_refused(
    run: Run, alike: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([alike], out, part_pictures=1)
    [plan] = (out / "plan").iterdir()
    lines = [json.loads(line) for line in plan.read_text().splitlines()]
    plan.write_text("".join(f"{json.dumps({**line, 'id': lines[0]['id']})}\n" for line in lines))
    with pytest.raises(ConfigurationError, match="which are printed alike: name another folder"):
        run([alike], out)


@pytest.fixture
def late(tmp_path: Path) -> tuple[Path, Callable[[], None]]:
    """A folder with pictures and a TIFF that is empty at first, and what makes it a scene."""
    folder = tmp_path / "late"
    folder.mkdir()
    for name in ("0.png", "2.png"):
        write_picture(folder / name, int(name[0]))
    (folder / "1.tif").write_bytes(b"")

    def arrive() -> None:
        write_tiff(folder / "1.tif", noise(height=200, width=300))

    return folder, arrive


def assert_all_once(out: Path) -> None:
    assert [(Path(row["source"]).name, row["height"], row["error"]) for row in rows_in(out)] == [
        ("0.png", 40, None),
        ("1.tif", 200, None),
        ("2.png", 42, None),
    ]


@pytest.mark.parametrize("done", range(4))
def test_a_file_that_has_become_a_scene_is_one_at_the_next_try_wherever_that_ends(
    run: Run, late: tuple[Path, Callable[[], None]], tmp_path: Path, done: int
) -> None:
    folder, arrive = late
    out = tmp_path / "out"
    run([folder], out, search=SMALL)
    arrive()
    assert run([folder], out, search=SMALL) == []
    run([folder], out, search=SMALL, retry_failed=True, most=done)
    run([folder], out, search=SMALL)
    assert_all_once(out)
    assert run([folder], out, search=SMALL, retry_failed=True) == []


def test_a_run_that_ends_before_it_has_changed_the_plan_loses_nothing(
    run: Run, late: tuple[Path, Callable[[], None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, arrive = late
    out = tmp_path / "out"
    run([folder], out, search=SMALL)
    arrive()
    monkeypatch.setattr(Plan, "_keep", lambda self, made: 1 / 0 if made else None)
    with pytest.raises(ZeroDivisionError):
        run([folder], out, search=SMALL, retry_failed=True)
    monkeypatch.undo()
    run([folder], out, search=SMALL)
    assert_all_once(out)


def test_files_that_are_no_pictures_or_no_scenes_any_more_are_what_they_are_now(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "given", tmp_path / "out"
    folder.mkdir()
    (folder / "a.tif").write_bytes(b"II*\0" + bytes(1 << 21))  # above the limit
    (folder / "b.avi").write_bytes(b"")
    (folder / "c.png").write_bytes(b"")
    (folder / "d.png").write_bytes(b"")
    assert sum(part.failures for part in run([folder], out, search=SMALL)) == 4
    Image.new("RGB", (60, 40)).save(folder / "a.tif")
    write_picture(folder / "one.png", 1)
    (folder / "one.png").rename(folder / "b.avi")
    for name in ("c", "d"):
        write_video(folder / "one.avi", frames=2)
        (folder / "one.avi").rename(folder / f"{name}.png")
    run([folder], out, search=SMALL, retry_failed=True)
    rows = rows_in(out)
    assert [row["error"] for row in rows] == [None] * 6
    assert [Path(row["source"]).name for row in rows] == ["a.tif", "b.avi", "c.png", "c.png", "d.png", "d.png"]
    assert run([folder], out, search=SMALL, retry_failed=True) == []


def test_a_table_whose_column_has_another_name_now_is_read_again(run: Run, pictures: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "table.parquet", tmp_path / "out"
    good = (pictures / "1.png").read_bytes()
    pq.write_table(pa.table({"bytes": [good, b"broken"]}), table)
    run([table], out)
    pq.write_table(pa.table({"image": [good, good]}), table)
    run([table], out, retry_failed=True)
    assert [row["error"] for row in rows_in(out)] == [None, None]


def test_failures_that_this_run_is_not_given_are_not_tried_again(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (pictures / "1.png").write_bytes(b"broken")
    run([pictures], out)
    before = rows_in(out)
    (pictures / "1.png").unlink()
    assert run([pictures], out, retry_failed=True) == []
    assert rows_in(out) == before


def test_a_damaged_plan_is_not_to_be_removed_since_rows_would_be_there_twice(
    run: Run, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([pictures], out)
    [plan] = (out / "plan").iterdir()
    plan.write_bytes(plan.read_bytes()[:-9])
    with pytest.raises(ConfigurationError, match=f"{plan.name} is damaged: .*; restore it, or name another folder"):
        run([pictures], out)
    plan.unlink()
    (pictures / "0.png").unlink()
    run([pictures], out)
    assert len(rows_in(out)) > 9  # what the message warns of
