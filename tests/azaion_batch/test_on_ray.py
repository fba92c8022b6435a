"""Jobs on Ray Data, as the command runs them: whole, with workers that die, and killed again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from azaion_batch import job as job_module
from azaion_batch.cluster import Workers
from azaion_batch.job import parts_of, planned_job
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.storage import Place
from azaion_cli.exit_codes import ExitCode
from azaion_engine import Detector
from azaion_engine.scenes.detecting import detect_scene
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import SceneOptions
from azaion_engine.settings import Tiles
from tests.azaion_batch.conftest import Fragile, lines_of, rows_in, write_picture
from tests.azaion_engine.scenes.files import noise, write_tiff
from tests.running_serve import RunningServe

KILLS = int(os.environ.get("AZAION_BATCH_KILLS", "3"))
"""`make batch-kills` sets 50."""
SCENE_PIXELS = 50_000
"""TIFFs with more pixels are scenes."""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(60):
        write_picture(folder / f"{index:03d}.png", index)
    return folder


@pytest.fixture
def on_ray(running_serve: RunningServe) -> str:
    """Address of a Ray that runs; this process is connected to it."""
    return str(ray.get_runtime_context().gcs_address)


def test_the_command_writes_rows_and_a_document_and_tells_failures(
    on_ray: str, azaion: Callable[..., Any], pictures: Path, tiny: Path, tmp_path: Path
) -> None:
    (pictures / "3.png").write_bytes(b"broken")
    scene = write_tiff(pictures / "scene.tif", noise(height=200, width=300))
    out = tmp_path / "out"
    command = ("batch", pictures, "--out", out, "-m", tiny, "--engine", "onnx", "-c", 0, "--part-pictures", 4)
    command += ("--set", f"max_picture_pixels={SCENE_PIXELS}")
    ran = azaion(*command, "--format", "jsonl")
    assert ran.code == ExitCode.PICTURES_FAILED
    assert "3.png: given no picture" in ran.err
    assert "9 pictures" in ran.err
    assert "1 failed" in ran.err
    assert len(rows_in(out)) == 10
    lines = lines_of(out / "detections.jsonl")
    assert [Path(line["source"]).name for line in lines] == [*(f"{index}.png" for index in range(9)), "scene.tif"]
    with Detector.open(model=str(tiny), engine="onnx", confidence=0) as detector, Scene.open(scene) as opened:
        assert len(lines[-1]["boxes"]) == len(detect_scene(detector, opened, SceneOptions(Tiles())).found)
    assert [len(line.get("boxes", ())) for line in lines] == [len(row["boxes"]) for row in rows_in(out)]
    again = azaion(*command, "--json")
    assert again.code == ExitCode.OK
    assert '"done_before": 10' in again.err


def test_a_worker_that_dies_costs_nothing(on_ray: str, settings: BatchSettings, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    entries = find_entries([str(many)], Search())
    with planned_job(Place.of(str(out)), settings, RunSettings(part_pictures=3), entries) as job:
        parts = parts_of(job, Workers(most=1, cpus=1, gpus=0, threads=1))
        seen = [next(parts)]
        killed = [worker.pid for worker in workers()]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        seen += parts
    assert killed
    assert len(seen) == 20
    assert [row["source"] for row in rows_in(out)] == [str(path) for path in sorted(many.iterdir())]


def test_a_picture_that_kills_every_worker_does_not_end_the_job(
    on_ray: str, settings: BatchSettings, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "Detecting", Fragile)
    out = tmp_path / "out"
    entries = find_entries([str(many)], Search())
    with planned_job(Place.of(str(out)), settings, RunSettings(part_pictures=6), entries) as job:
        parts = list(parts_of(job, Workers(most=1, cpus=1, gpus=0, threads=1)))
    assert len(parts) == 9
    left_out = {f"{index:03d}.png" for index in range(12, 18)}
    assert {row["name"] for row in rows_in(out)} == {path.name for path in many.iterdir()} - left_out


def workers() -> list[psutil.Process]:
    """Returns the detecting workers among this process's own descendants."""
    family = psutil.Process().children(recursive=True)
    return [process for process in family if "MapWorker(MapBatches(Detecting))" in " ".join(process.cmdline())]


def test_a_job_that_is_killed_again_and_again_does_all_once(
    on_ray: str, many: Path, tiny: Path, tmp_path: Path, run: Callable[..., Any], settings: BatchSettings
) -> None:
    for index in range(6):  # of which the windows are parts of their own, and the scenes are merged at the end
        write_tiff(many / f"{index}.tif", noise(height=200 + index, width=300))
    out, expected = tmp_path / "out", tmp_path / "expected"
    command = command_of(many, out, tiny, on_ray)
    chance = random.Random(KILLS)
    killed = 0
    for _ in range(KILLS):
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            wait_for_parts(out, process, at_least=count(out) + chance.choice([0, 1, 1, 60 // KILLS]))
            time.sleep(chance.random() * 0.3)
            killed += process.poll() is None
            process.kill()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=240).returncode == ExitCode.OK
    scenes = BatchSettings.of(settings.detector.model_copy(update={"max_picture_pixels": SCENE_PIXELS}))
    run([many], expected, settings=scenes, search=Search(limits=scenes.limits), part_pictures=1)
    rows = rows_in(out)
    assert [row["source"] for row in rows] == [str(path) for path in sorted(many.iterdir())]
    assert rows == rows_in(expected)
    assert killed >= KILLS // 2  # the others came too late: the job was done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_whole_files_and_the_next_run_goes_on(
    on_ray: str, many: Path, tiny: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    command = command_of(many, out, tiny, on_ray)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_for_parts(out, process, at_least=1)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "run it again" in said
    done = rows_in(out)  # each part can be read
    assert 0 < len(done) < 60
    (out / "parts" / ".azaion-0123456789abcdef.part").write_bytes(b"half a part")
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert again.returncode == ExitCode.OK
    assert f"{len(done)} of 60 sources done before" in again.stderr
    assert len(rows_in(out)) == 60
    assert not list(out.glob("parts/.*"))


def command_of(given: Path, out: Path, model: Path, address: str) -> list[str]:
    command = [sys.executable, "-m", "azaion_cli", "batch", str(given), "--out", str(out), "-m", str(model)]
    command += ["--engine", "onnx", "-c", "0", "--part-pictures", "1", "--set", "threads=1"]
    command += ["--set", f"max_picture_pixels={SCENE_PIXELS}"]
    return [*command, "--address", address]


def count(out: Path) -> int:
    return len(list(out.glob("parts/*.parquet")))


def wait_for_parts(out: Path, process: subprocess.Popen[bytes], at_least: int) -> None:
    until = time.monotonic() + 120
    while count(out) < at_least and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
