"""python -m benchmarks.gpu: the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.host import ROOT
from tests.benchmarks.gpu.made import SLEEP, step

INTERRUPTED = """
import sys
from benchmarks.gpu import __main__ as command
from tests.benchmarks.gpu.made import SLEEP, step
command.missing = lambda modules, needs_gpu: []
command.cpu_steps = lambda files: [step("done"), step("sleeping", SLEEP), step("later")]
sys.exit(command.main(["--out", sys.argv[1], "--engine", "onnx"]))
"""


def test_a_dry_run_prints_every_command_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--out", str(tmp_path / "out"), "--dry-run", "--gpus", "1"]) == 0
    said = capsys.readouterr().out
    assert f"python -m tests.chaos.gpu --cache {tmp_path}/out/cache" in said
    assert "in_process: at most " in said
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_one_line_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "missing", lambda modules, needs_gpu: ["pycuda", "a GPU"])
    assert command.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "missing: pycuda; a GPU\n"
    assert not (tmp_path / "out").exists()


def test_an_unknown_step_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--out", str(tmp_path), "--dry-run", "--steps", "swop"])
    assert "no step 'swop' here, there are plan_chaos, " in capsys.readouterr().err


@pytest.mark.parametrize("gpus", ["0", "3"])
def test_gpus_that_are_not_here_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gpus: str
) -> None:
    monkeypatch.setattr(command, "missing", lambda modules, needs_gpu: [])
    monkeypatch.setattr(command, "visible_gpus", lambda: ["0", "1"])
    with pytest.raises(SystemExit):
        command.main(["--out", str(tmp_path), "--gpus", gpus])
    assert f"--gpus {gpus}: this machine shows 2" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "ends_with"), [("", 0), ("raise SystemExit(4)", 1)])
def test_it_ends_with_1_if_a_step_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: str, ends_with: int
) -> None:
    monkeypatch.setattr(command, "missing", lambda modules, needs_gpu: [])
    monkeypatch.setattr(command, "cpu_steps", lambda files: [step("first", code), step("second")])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert command.main(["--out", str(tmp_path), "--engine", "onnx"]) == ends_with
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["first", "second"]
    assert len([*tmp_path.glob("steps-*.json")]) == 1


@pytest.mark.parametrize(("number", "ends_with"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_and_leaves_what_was_written(tmp_path: Path, number: int, ends_with: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    output = tmp_path / "sleeping.txt"
    end = time.monotonic() + 60
    while not (output.exists() and output.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == ends_with
    assert [line.split()[0] for line in said.splitlines()] == ["done", "sleeping", "later"]
    assert (tmp_path / "done.txt").read_text() == "done\n"
    assert not sleepers(tmp_path), "a process of the step still runs"


def sleepers(folder: Path) -> list[int]:
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            is_sleeper = SLEEP.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
            if is_sleeper and os.readlink(f"/proc/{pid}/fd/1").startswith(str(folder)):
                found.append(int(pid))
    return found
