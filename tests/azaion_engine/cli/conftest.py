from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from azaion_engine.cli import console
from azaion_engine.cli.app import main
from tests.azaion_engine.fakes.fake_h200 import fake_h200
from tests.azaion_engine.models import make_detector


@dataclass
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def azaion(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    """Runs the command in this process."""

    def run(*arguments: object) -> Ran:
        console.stdout.cache_clear()
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(int(code), captured.out, captured.err)

    yield run
    for name in ("azaion_engine", "azaion_engine.build_progress", "azaion_engine.engine_store"):
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
    """A fake GPU with a fake TensorRT 8.6; gives the module."""
    with fake_h200(monkeypatch) as (fake, tensorrt):
        yield tensorrt
        assert fake.idle(), "a context was left pushed"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No PyCUDA and no driver, wherever the tests run."""
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
