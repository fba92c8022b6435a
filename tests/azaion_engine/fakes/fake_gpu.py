"""Fake GPUs of a machine: installs all the fake modules together."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from azaion_engine.cuda import context as cuda_context
from azaion_engine.cuda import libcuda
from azaion_engine.engines.tensorrt import installed
from azaion_engine.pictures.gpu import jpeg_decoder, nvjpeg
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, FakeLibcuda
from tests.azaion_engine.fakes.fake_nvjpeg import FakeNvjpeg
from tests.azaion_engine.fakes.fake_nvml import make_nvml
from tests.azaion_engine.fakes.fake_tensorrt import make_tensorrt


def install(fake: FakeCuda, patch: pytest.MonkeyPatch) -> Any:
    """Replaces the modules with the fakes until the patch ends; returns the fake `tensorrt`."""
    pycuda: Any = ModuleType("pycuda")
    pycuda.__spec__ = ModuleSpec("pycuda", None)
    pycuda.driver = fake.module
    tensorrt, driver = make_tensorrt(fake), FakeLibcuda(fake)
    modules = {
        "pycuda": pycuda,
        "pycuda.driver": fake.module,
        "pynvml": make_nvml(fake.gpus),
        "tensorrt": tensorrt,
    }
    for name, module in modules.items():
        patch.setitem(sys.modules, name, module)
    decoder = fake.nvjpeg = FakeNvjpeg(fake)
    patch.setattr(nvjpeg, "load_libraries", lambda: [(decoder, decoder)])
    patch.setattr(jpeg_decoder, "load_libraries", nvjpeg.load_libraries)
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    patch.setattr(cuda_context, "_contexts", {})
    patch.setattr(cuda_context, "_begun", {})
    patch.setattr(libcuda, "load_libcuda", lambda: driver)
    installed.forget()
    return tensorrt
