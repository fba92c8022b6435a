"""`azaion detect` and the user's files: nothing is harmed, every name is answered, and a break is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from azaion_cli.exit_codes import ExitCode
from tests.azaion_cli.conftest import Ran
from tests.azaion_engine.files.video_files import cut, write_frames
from tests.stand_in import grey_picture

Cli = Callable[..., Ran]
VARYING = [0, 33, 66, 100, 1100, 2100]


@pytest.fixture
def detect(azaion: Cli, tiny: Path) -> Cli:
    return lambda *given: azaion("detect", *given, "--model", tiny, "--engine", "onnx", "-c", 0)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for value in range(2):
        (folder / f"{value}.jpg").write_bytes(grey_picture(50 * value, size=64 + value))
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_outputs_that_would_harm_a_file_are_refused_before_anything_is_written(
    detect: Cli, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "1.txt").write_text("a label made by hand")
    (tmp_path / "old.jsonl").write_text("old")
    before = everything(tmp_path)
    for given in (
        (pictures, "--draw", pictures),
        (pictures, "--draw", pictures, "--overwrite"),
        (pictures / "1.jpg", "-o", pictures / "1.jpg", "--overwrite"),
        (pictures, "-o", tmp_path / "tiny.onnx", "--overwrite"),
        (pictures, "-f", "yolo", "-o", pictures),
        (pictures, "-o", tmp_path / "old.jsonl"),
        (pictures, "-o", tmp_path / "drawn/0.jpg", "--draw", tmp_path / "drawn"),
    ):
        ran = detect(*given)
        assert ran.code in (ExitCode.USAGE, ExitCode.ENVIRONMENT), given
        assert ran.err.startswith("error: "), given
        assert ran.out == ""
    assert everything(tmp_path) == before
    assert detect(pictures, "-o", tmp_path / "old.jsonl", "--overwrite").code == ExitCode.OK
    assert len((tmp_path / "old.jsonl").read_text().splitlines()) == 2
    assert detect(pictures, "-f", "yolo", "-o", tmp_path / "labels").code == ExitCode.OK
    again = detect(pictures, "-f", "yolo", "-o", tmp_path / "labels")
    assert (again.code, "--overwrite" in again.err) == (ExitCode.USAGE, True)


def test_an_output_that_ends_in_an_error_is_not_there(
    detect: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azaion_engine.files.writers import Coco

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Coco, "finish", full)
    assert detect(pictures, "-f", "coco", "-o", tmp_path / "out.json").code == ExitCode.ENVIRONMENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "tiny.onnx"]


def test_names_that_are_not_utf_8_are_answered_or_named_and_harm_no_other(
    detect: Cli, pictures: Path, tmp_path: Path
) -> None:
    folder = os.fsencode(pictures)
    shutil.copy(pictures / "0.jpg", folder + b"/latin_\xe9.jpg")
    shutil.copy(write_frames(tmp_path / "a.mp4", VARYING), folder + b"/vid_\xe9.mp4")
    with open(folder + b"/bad_\xe9.jpg", "wb") as bad:
        bad.write(b"no picture")
    for kind in ("jsonl", "csv", "coco"):
        ran = detect(pictures, "--format", kind)
        assert ran.code == ExitCode.PICTURES_FAILED
        assert "bad_\\xe9.jpg" in ran.err
        assert "latin_\\" in ran.out
        ran.out.encode("utf-8")
        if kind == "jsonl":
            lines = [json.loads(line) for line in ran.out.splitlines()]
            assert [line["source"].rpartition("/")[2] for line in lines[:3]] == ["0.jpg", "1.jpg", "latin_\\xe9.jpg"]
            assert [line["time_s"] for line in lines[3:]] == [time / 1000 for time in VARYING]
    labels = tmp_path / "labels"
    assert detect(pictures, "--format", "yolo", "-o", labels, "--draw", labels).code == ExitCode.PICTURES_FAILED
    assert b"latin_\xe9.txt" in os.listdir(os.fsencode(labels))
    assert b"vid_\xe9_000005.jpg" in os.listdir(os.fsencode(labels))


def test_a_video_that_breaks_off_is_answered_up_to_there_and_the_exit_code_says_so(
    detect: Cli, pictures: Path, tmp_path: Path
) -> None:
    shutil.copy(
        cut(write_frames(tmp_path / "a.mkv", [100 * index for index in range(40)])), pictures / "a"
    )  # no suffix
    ran = detect(pictures, "--every", 5, "--json")
    assert ran.code == ExitCode.PICTURES_FAILED
    lines = [json.loads(line) for line in ran.out.splitlines()]
    frames = [line for line in lines if "frame" in line]
    assert len(lines) == len(frames) + 2
    assert [line["frame"] for line in frames] == [5 * index for index in range(len(frames))]
    assert 1 < len(frames) < 6
    error, summary = (json.loads(line) for line in ran.err.splitlines())
    assert "breaks off" in error["error"]["message"]
    assert summary["summary"]["failed"] == 1


def test_coco_tells_two_folders_and_two_videos_apart(detect: Cli, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "more")
    for suffix in (".mp4", ".mkv"):
        write_frames(tmp_path / "more" / f"clip{suffix}", VARYING)
    ran = detect(pictures, tmp_path / "more", "--format", "coco", "--every", 10)
    assert [image["file_name"] for image in ran.json["images"]] == [
        "pictures/0.jpg",
        "pictures/1.jpg",
        "more/0.jpg",
        "more/1.jpg",
        "more/clip.mkv_000000.jpg",
        "more/clip.mp4_000000.jpg",
    ]


def test_a_folder_that_cannot_be_read_is_told_and_the_others_are_answered(
    detect: Cli, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "closed").mkdir()
    scan = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    ran = detect(pictures, "--recursive")
    assert ran.code == ExitCode.PICTURES_FAILED
    assert len(ran.out.splitlines()) == 2
    assert "closed: the folder cannot be read: Permission denied" in ran.err
    assert detect(pictures).code == ExitCode.OK


def test_an_empty_argument_is_refused(detect: Cli) -> None:
    ran = detect("")
    assert ran.code == ExitCode.USAGE
    assert "given ''" in ran.err


def test_a_file_above_the_limit_is_not_read_and_the_setting_that_takes_it_is_named(detect: Cli, pictures: Path) -> None:
    with (pictures / "0.jpg").open("r+b") as file:
        file.truncate(40 << 30)  # sparse: reading it would take all memory
    ran = detect(pictures)
    assert ran.code == ExitCode.PICTURES_FAILED
    assert "--set max_picture_bytes=" in ran.err
    small = detect(pictures / "1.jpg", "--set", "max_picture_bytes=10")
    assert "at most 10 are accepted" in small.err


def test_tracking_gives_ids_to_frames_and_none_to_pictures(detect: Cli, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackers", reason="the extra `track` is not installed")
    write_frames(pictures / "clip.mp4", [100 * index for index in range(6)])
    ran = detect(pictures, "--track", "--every", 1)
    assert ran.code == ExitCode.OK
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert all("track_id" not in box for line in lines if "frame" not in line for box in line["boxes"])
    frames = [[box["track_id"] for box in line["boxes"]] for line in lines if "frame" in line]
    assert set(frames[0]) == {None}
    assert {track for frame in frames[1:] for track in frame} > {0}
    header = detect(pictures, "--track", "--format", "csv").out.splitlines()[0]
    assert header.endswith(",track_id")


def test_tracking_without_its_extra_names_it(detect: Cli, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "trackers", None)
    ran = detect(pictures, "--track")
    assert ran.code == ExitCode.ENVIRONMENT
    assert "azaion-engine[track]" in ran.err


@pytest.mark.parametrize("kind", ["jsonl", "geojson"])
def test_a_pipe_is_read_once_and_to_its_end(detect: Cli, pictures: Path, tmp_path: Path, kind: str) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    feeder = Thread(target=pipe.write_bytes, args=[(pictures / "1.jpg").read_bytes()], daemon=True)
    feeder.start()
    ran = detect(pipe, "-f", kind, "--draw", tmp_path / "drawn")
    assert ran.code == ExitCode.OK, ran.err
    assert str(pipe) in ran.out
    assert (tmp_path / "drawn/pipe.jpg").exists()


def test_a_device_without_an_end_is_one_failure(detect: Cli, pictures: Path) -> None:
    ran = detect("/dev/zero", pictures / "1.jpg", "--set", "max_picture_bytes=100000")
    assert ran.code == ExitCode.PICTURES_FAILED
    assert "error: /dev/zero: the picture has more than 100000 bytes" in ran.err
    assert len(ran.out.splitlines()) == 1


def test_the_home_of_nobody_is_a_path_that_is_not_there(azaion: Cli) -> None:
    nobody = "~no-such-user/x"
    for given in (("detect", nobody), ("detect", "x", "-m", nobody), ("inspect", nobody), ("eval", "--data", nobody)):
        ran = azaion(*given)
        assert ran.code == ExitCode.USAGE, given
        assert nobody in ran.err


def test_a_run_that_is_terminated_leaves_nothing_half_written(pictures: Path, tiny: Path, tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe.jpg", tmp_path / "out"
    os.mkfifo(pipe)
    out.mkdir()
    command = [sys.executable, "-m", "azaion_cli", "detect", f"{pictures}/0.jpg", str(pipe), "-m", str(tiny)]
    process = subprocess.Popen([*command, "--engine", "onnx", "-o", str(out / "out.jsonl")], stderr=subprocess.PIPE)
    with pipe.open("wb"):  # opened on the other side too: the run waits for its bytes
        assert [path.suffix for path in out.iterdir()] == [".part"]
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert (process.returncode, [*out.iterdir()]) == (ExitCode.INTERRUPTED, []), told
