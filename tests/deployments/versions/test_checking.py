"""A version is opened in a process of its own before a replica opens it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from azaion_engine.errors import EngineBuildError
from azaion_engine.plans.agreement import Agreement
from deployments.errors import VersionRefusedError
from deployments.settings import ServiceSettings
from deployments.versions import checking
from deployments.versions.checking import agreement_of, check_model
from tests.azaion_engine.models import make_detector


def settings_of(path: Path, model: bytes) -> ServiceSettings:
    path.write_bytes(model)
    return ServiceSettings(model=str(path), engine="onnx", threads=1, name="cars")


def test_a_model_that_runs_is_let_through_and_one_that_cannot_says_why(tmp_path: Path) -> None:
    check_model(settings_of(tmp_path / "good.onnx", make_detector()), threading.Event())
    with pytest.raises(VersionRefusedError, match="Mystery"):
        check_model(settings_of(tmp_path / "bad.onnx", make_detector(unknown_op=True)), threading.Event())


def test_a_process_that_dies_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died = tmp_path / "python"
    died.write_text("#!/bin/sh\necho 'out of memory' >&2\nkill -SEGV $$\n")
    died.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(died))
    with pytest.raises(VersionRefusedError, match=r"ended with signal 11: .*out of memory"):
        check_model(ServiceSettings(engine="onnx"), threading.Event())


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a process that never ends by itself in the place of each check; returns the file of its id."""
    pid, python = tmp_path / "pid", tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {pid}.new && mv {pid}.new {pid}\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return pid


def test_the_process_of_a_version_that_is_no_longer_wanted_ends(endless: Path) -> None:
    unwanted = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check_model, ServiceSettings(engine="onnx"), unwanted)
        wait_until(endless.exists)
        assert not checked.done()
        unwanted.set()
        with pytest.raises(VersionRefusedError, match="no longer wanted"):
            checked.result(10)
    assert not Path("/proc", endless.read_text().strip()).exists()


def test_the_process_of_a_version_that_takes_too_long_ends(endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "LONGEST_S", 0.5)
    with pytest.raises(VersionRefusedError, match="was not built within"):
        check_model(ServiceSettings(engine="onnx"), threading.Event())
    assert not Path("/proc", endless.read_text().strip()).exists()


def test_the_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'deployments.versions.checking', str(os.getpid())]\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    pipe = subprocess.PIPE  # both read it, and it stays open
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as replica:
        assert replica.stdout is not None
        checks = Path("/proc", replica.stdout.readline().strip())
        wait_until(lambda: int(fields_of(checks)[16]) == os.nice(0) + checking.NICE)  # so it waits for its settings
        replica.kill()
        wait_until(lambda: not checks.exists() or fields_of(checks)[0] in "ZX")


def fields_of(process: Path) -> list[str]:
    """Returns the fields of /proc/PID/stat from the state on."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("matched", "refused"), [(9, False), (5, True)])
def test_an_engine_that_finds_other_boxes_than_onnx_runtime_is_refused(matched: int, refused: bool) -> None:
    made = Agreement(precision="fp16", boxes=10, matched=matched, largest_px=1.0, largest_confidence=0.01)
    detector: Any = SimpleNamespace(engine=SimpleNamespace(origin=SimpleNamespace(agreement=made)))
    if refused:
        with pytest.raises(EngineBuildError, match="5 of 10 boxes"):
            agreement_of(detector)
    else:
        assert agreement_of(detector).startswith("9 of 10 boxes as with ONNX Runtime")
