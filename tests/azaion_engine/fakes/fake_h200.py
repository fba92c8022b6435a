from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from azaion_engine import cuda_context, tensorrt_api
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_nvml import make_nvml
from tests.azaion_engine.fakes.fake_tensorrt import make_tensorrt


@contextmanager
def fake_h200(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeCuda, Any]]:
    """A fake GPU with a fake TensorRT 8.6, found by whoever imports pycuda, pynvml and tensorrt; gives both."""
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
    yield fake, tensorrt
    tensorrt_api.forget()
