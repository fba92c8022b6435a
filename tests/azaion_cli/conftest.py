from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from azaion_cli import console
from azaion_cli.app import main
from tests.azaion_engine.fakes.fake_h200 import fake_h200
from tests.azaion_engine.models import make_detector


@dataclass
class Ran:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def azaion(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    """Runs the command in this process, not in one of its own."""

    def run(*arguments: object) -> Ran:
        console.stdout.cache_clear()
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(int(code), captured.out, captured.err)

    yield run
    for name in ("azaion_engine", "azaion_engine.engines.tensorrt.build.progress", "azaion_engine.plans.store"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger("azaion_engine").removeHandler(console._log_lines)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model that runs in a millisecond."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(make_detector())
    return path


@pytest.fixture
def h200(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake GPU with a fake TensorRT 8.6; yields the fake `tensorrt` module."""
    with fake_h200(monkeypatch) as (fake, tensorrt):
        yield tensorrt
        assert fake.idle(), "a context was left pushed"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides PyCUDA and the driver where the machine has them."""
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)


def on_terminal(command: list[str], columns: int) -> tuple[subprocess.Popen[bytes], bytes, bytes]:
    """Runs a command whose stderr is a terminal; returns the ended process, its stdout and its stderr."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # EIO: the other side of the terminal is closed (Linux)
            break
        if not part:
            break
        shown += part
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    return process, out, shown
