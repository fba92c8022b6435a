from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from azaion_engine.engines.tensorrt import installed
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_gpu import install


@contextmanager
def fake_h200(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeCuda, Any]]:
    """Yields a fake GPU and a fake TensorRT 8.6, installed as pycuda, pynvml and tensorrt."""
    fake = FakeCuda([PhysicalGpu("NVIDIA H200", "GPU-aaaa", "0000:1B:00.0", 150_754_820_096)])
    tensorrt = install(fake, monkeypatch)
    yield fake, tensorrt
    installed.forget()
