"""`azaion detect`: the demo model on real pictures in a process of its own; a tiny model in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_cli.exit_codes import ExitCode
from azaion_engine.model.file import SAMPLES, sample_picture
from tests.azaion_cli.conftest import Ran, on_terminal
from tests.azaion_engine import signatures
from tests.stand_in import grey_picture

Cli = Callable[..., Ran]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for value in range(5):
        (folder / f"{value}.png").write_bytes(grey_picture(50 * value, size=64 + value))
    return folder


def test_pictures_and_a_video_of_them_as_a_process(tmp_path: Path) -> None:
    """Two samples, a bad picture, a video and stdin, drawn too, in one process: the model is loaded only once."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in SAMPLES:
        (folder / name).write_bytes(sample_picture(name))
    (folder / "bad.jpg").write_bytes(sample_picture()[:5000])
    first = cv2.imread(str(folder / SAMPLES[0]))
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, first.shape[1::-1])
    for shift in range(3):
        video.write(np.roll(first, 4 * shift, axis=1))
    video.release()
    command = [sys.executable, "-m", "azaion_cli", "detect", str(folder), "-", "--every", "2", "--draw", "drawn"]
    done = subprocess.run(
        [*command, "--confidence", "0.9", "--classes", "car", "--engine", "onnx"],
        cwd=tmp_path,
        input=sample_picture(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == ExitCode.PICTURES_FAILED, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told = [(Path(line["source"]).name, line.get("frame")) for line in lines]
    assert told == [("clip.avi", 0), ("clip.avi", 2), (SAMPLES[0], None), (SAMPLES[1], None), ("-", None)]
    frame, shifted, one, two, stdin = (line["boxes"] for line in lines)
    # README shows this box.
    assert [round(one[0][key]) for key in ("x1", "y1", "x2", "y2")] == [1172, 273, 1251, 330]
    assert one == stdin
    assert len(two) > 5
    assert abs(frame[0]["x1"] - one[0]["x1"]) < 2
    assert any(abs(box["x1"] - frame[0]["x1"] - 8) < 2 for box in shifted), "two frames on, four pixels each"
    errors = done.stderr.decode().splitlines()
    assert len(errors) == 2, errors
    assert "bad.jpg" in errors[0]
    assert "5 pictures" in errors[1]
    assert "1 failed" in errors[1]
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == ["clip_000000.jpg", "clip_000002.jpg", "sample_1.jpg", "sample_2.jpg", "stdin.jpg"]
    pixels, plain = np.array(Image.open(tmp_path / "drawn/sample_1.jpg")), np.array(Image.open(folder / SAMPLES[0]))
    assert pixels.shape == plain.shape
    assert (np.abs(pixels.astype(int) - plain) > 60).any(axis=2).sum() > 300, "no box was drawn"


def test_batches_are_the_engines_and_the_order_is_that_of_the_sources(azaion: Cli, pictures: Path, tiny: Path) -> None:
    (pictures / "1.png").write_bytes(b"broken")
    ran = azaion("detect", pictures, "--model", tiny, "--batch-size", 3, "--engine", "onnx", "-c", 0, "--json")
    assert ran.code == ExitCode.PICTURES_FAILED
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [Path(line["source"]).stem for line in lines] == ["0", "2", "3", "4"]
    assert [line["picture"]["width"] for line in lines] == [64, 66, 67, 68]
    error, summary = map(json.loads, ran.err.splitlines())
    assert error["error"]["code"] == "not_a_picture"
    assert "1.png" in error["error"]["message"]
    counts = summary["summary"]
    assert (counts["pictures"], counts["failed"]) == (4, 1)
    assert counts["boxes"] == sum(len(line["boxes"]) for line in lines)
    alone = azaion("detect", pictures / "3.png", "--model", tiny, "--engine", "onnx", "-c", 0)
    assert alone.code == ExitCode.OK
    for ours, theirs in zip(lines[2]["boxes"], json.loads(alone.out)["boxes"], strict=True):
        assert ours == pytest.approx(theirs, abs=0.02)


def test_csv_coco_and_yolo_go_where_output_says(azaion: Cli, pictures: Path, tiny: Path, tmp_path: Path) -> None:
    common = ("detect", pictures, "--model", tiny, "--engine", "onnx", "-c", 0)
    for kind in ("csv", "coco"):
        ran = azaion(*common, "--format", kind, "--output", tmp_path / f"out.{kind}")
        assert (ran.code, ran.out, ran.err) == (ExitCode.OK, "", "")
    assert len((tmp_path / "out.csv").read_text().splitlines()) > 5
    assert len(json.loads((tmp_path / "out.coco").read_text())["images"]) == 5
    assert azaion(*common, "--format", "yolo", "--output", tmp_path / "labels").code == ExitCode.OK
    assert len(list((tmp_path / "labels").glob("*.txt"))) == 5
    without = azaion(*common, "--format", "yolo")
    assert without.code == ExitCode.USAGE
    assert "--output" in without.err


def test_an_unknown_class_is_wrong_usage_and_an_unwritable_output_is_not_a_bug(
    azaion: Cli, pictures: Path, tiny: Path, tmp_path: Path
) -> None:
    common = ("detect", pictures, "--model", tiny, "--engine", "onnx")
    ran = azaion(*common, "--classes", "car,unicorn")
    assert ran.code == ExitCode.USAGE
    assert "unicorn" in ran.err
    assert azaion(*common, "--output", tmp_path / "no/such/folder.jsonl").code == ExitCode.ENVIRONMENT


def test_a_bar_is_shown_on_a_terminal_and_stdout_stays_clean(pictures: Path, tiny: Path) -> None:
    command = [sys.executable, "-m", "azaion_cli", "detect", str(pictures), "-m", str(tiny), "--engine", "onnx"]
    process, out, shown = on_terminal(command, columns=100)
    assert process.returncode == ExitCode.OK
    assert [json.loads(line)["picture"]["width"] for line in out.splitlines()] == [64, 65, 66, 67, 68]
    assert b"5/5" in shown
    assert b"5 pictures, " in shown


def test_a_reader_that_has_enough_ends_the_command_quietly(pictures: Path, tiny: Path) -> None:
    command = [sys.executable, "-m", "azaion_cli", "detect", str(pictures), "-m", str(tiny), "--engine", "onnx"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (ExitCode.PIPE_CLOSED, b"")


def test_oriented_boxes_are_written_with_angle_and_corners(azaion: Cli, tmp_path: Path) -> None:
    (tmp_path / "obb.onnx").write_bytes(signatures.oriented_model())
    Image.fromarray(signatures.picture()).save(tmp_path / "a.png")
    command = ("detect", tmp_path / "a.png", "--model", tmp_path / "obb.onnx", "--engine", "onnx")
    assert [box["angle"] for box in azaion(*command).json["boxes"]] == [0.5, -0.6]
    header, *rows = azaion(*command, "--format", "csv").out.splitlines()
    assert header.endswith(
        "angle,x_corner_1,y_corner_1,x_corner_2,y_corner_2,x_corner_3,y_corner_3,x_corner_4,y_corner_4"
    )
    assert [len(row.split(",")) for row in rows] == [len(header.split(","))] * 2
    assert azaion(*command, "--format", "yolo", "--output", tmp_path / "labels").code == ExitCode.OK
    assert [len(line.split()) for line in (tmp_path / "labels/a.txt").read_text().splitlines()] == [10, 10]


def test_poses_are_written_with_their_keypoints(azaion: Cli, tmp_path: Path) -> None:
    (tmp_path / "pose.onnx").write_bytes(signatures.pose_model())
    Image.fromarray(signatures.picture()).save(tmp_path / "a.png")
    command = ("detect", tmp_path / "a.png", "--model", tmp_path / "pose.onnx", "--engine", "onnx")
    assert [len(box["keypoints"]) for box in azaion(*command).json["boxes"]] == [3, 3]
    header, *rows = azaion(*command, "--format", "csv").out.splitlines()
    assert header.endswith(
        "class_name,x_keypoint_1,y_keypoint_1,visibility_keypoint_1,"
        + ",".join(f"{name}_keypoint_{i}" for i in (2, 3) for name in ("x", "y", "visibility"))
    )
    assert [len(row.split(",")) for row in rows] == [len(header.split(","))] * 2


def test_large_pictures_are_cut_into_tiles_when_asked(azaion: Cli, tiny: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (200, 300, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")

    def lines(*options: object) -> list[dict]:
        ran = azaion("detect", tmp_path / "large.png", "--model", tiny, "--engine", "onnx", "-c", 0, *options)
        assert ran.code == ExitCode.OK, ran.err
        return [json.loads(line) for line in ran.out.splitlines()]

    [whole], [tiles], [without] = (
        lines(*options) for options in ((), ("--tiles", "64"), ("--tiles", 64, "--set", "tiles.full_picture=false"))
    )
    assert tiles["picture"] == whole["picture"] == {"width": 300, "height": 200}
    assert len(tiles["boxes"]) >= len(without["boxes"]) > 2 * len(whole["boxes"])
    ran = azaion("detect", tmp_path / "large.png", "--model", tiny, "--tiles", "huge")
    assert ran.code == ExitCode.USAGE
    assert "tiles" in ran.err
