"""benchmarks.gpu.process: the end of a step is the end of all its processes."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.gpu import process
from benchmarks.gpu.process import StepProcess
from tests.benchmarks.gpu.made import LANE, SLEEP, step

FAMILY = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
pids = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid,
        subprocess.Popen(sleep, process_group=0, env={}).pid if sys.version_info >= (3, 11) else
        subprocess.Popen(sleep, preexec_fn=__import__("os").setpgrp, env={}).pid]
print(*pids, flush=True)
"""


def started(tmp_path: Path, code: str) -> StepProcess:
    running = StepProcess(step("made", code), [LANE], tmp_path / "made.txt")
    end = time.monotonic() + 30
    while not running.last_line() and time.monotonic() < end:
        time.sleep(0.01)
    return running


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(pids: list[int]) -> bool:
    end = time.monotonic() + 10
    while any(map(lives, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    return not any(map(lives, pids))


def test_the_end_takes_the_whole_group_and_those_that_left_it(tmp_path: Path) -> None:
    running = started(tmp_path, FAMILY + "time.sleep(600)")
    pids = [int(word) for word in running.last_line().split()]
    assert all(map(lives, pids))
    running.end()
    assert gone(pids[:1]), "of its process group"
    running.clean_up()
    assert gone(pids), "of another session, found by its environment; of another group of its session without one"
    assert running.exit_code() == -15


def test_what_a_step_leaves_behind_is_killed_after_it(tmp_path: Path) -> None:
    running = started(tmp_path, FAMILY)
    pids = [int(word) for word in running.last_line().split()]
    end = time.monotonic() + 30
    while running.exit_code() is None and time.monotonic() < end:
        time.sleep(0.01)
    running.clean_up()
    assert running.exit_code() == 0
    assert gone(pids)


def test_a_step_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    running = started(tmp_path, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP)
    running.end()
    assert running.exit_code() == -9


def test_other_processes_are_left_alone(tmp_path: Path) -> None:
    one = started(tmp_path, SLEEP)
    (tmp_path / "other").mkdir()
    other = StepProcess(step("other", SLEEP), [LANE], tmp_path / "other" / "made.txt")
    one.end()
    one.clean_up()
    assert other.exit_code() is None
    assert lives(os.getpid())
    other.end()


def test_the_last_line_is_the_last_that_says_anything(tmp_path: Path) -> None:
    running = started(tmp_path, "print('rate 12'); print('}'); print(); print('-' * 20)")
    running.end()
    running._output.write_text("x" * 20000 + "\nrate 12\n}\n\n----\n")
    assert running.last_line() == "rate 12"
    running._output.write_text('{"rates": ' + "1, " * 1000 + '"ratio": 0.98}\n')
    assert running.last_line().startswith('{"rates": 1, 1, ')
    assert running.last_line().endswith(' 1, "ratio": 0.98}')
    assert len(running.last_line()) < 150
