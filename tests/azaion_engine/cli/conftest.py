from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from azaion_engine import cuda_context, tensorrt_api
from azaion_engine.cli import console
from azaion_engine.cli.app import main
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_nvml import make_nvml
from tests.azaion_engine.fakes.fake_tensorrt import make_tensorrt
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
    fake = FakeCuda([PhysicalGpu("NVIDIA H200", "GPU-aaaa", "0000:1B:00.0", 150_754_820_096)])
    package: Any = ModuleType("pycuda")
    package.driver = fake.module
    tensorrt = make_tensorrt(fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, module in (("pycuda", package), ("pycuda.driver", fake.module), ("tensorrt", tensorrt)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "pynvml", make_nvml(fake.gpus))
    monkeypatch.setattr(cuda_context, "_contexts", {})
    tensorrt_api.forget()
    yield tensorrt
    assert fake.idle(), "a context was left pushed"
    tensorrt_api.forget()


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No PyCUDA and no driver, wherever the tests run."""
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
