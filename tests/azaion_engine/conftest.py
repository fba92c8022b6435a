"""A GPU for the tests that need one: a real one (`-m gpu`) and, elsewhere, a small fake of one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azaion_engine.cuda import context as cuda_context
from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.build.builder import BuildOptions, build_plan
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_gpu import install
from tests.azaion_engine.models import make_detector

MODELS: dict[str, tuple[bytes, BuildOptions]] = {
    # Optimisation level 0 builds fast; TensorRT's choice of kernels is not tested here.
    "dynamic": (
        make_detector(height=None, width=None),
        BuildOptions(batch_size=3, height=64, width=96, precision="fp32", optimization_level=0),
    ),
    "wide": (make_detector(), BuildOptions(batch_size=20, precision="fp32", optimization_level=0)),
    "raw": (make_detector(output="raw"), BuildOptions(batch_size=4, precision="fp32", optimization_level=0)),
    "raw_half": (make_detector(output="raw", batch=2, io_dtype="float16"), BuildOptions(optimization_level=0)),
    "copied": (
        make_detector(height=640, width=640),
        BuildOptions(batch_size=2, precision="fp32", optimization_level=0),
    ),
    "fixed_half": (make_detector(batch=4, io_dtype="float16"), BuildOptions(optimization_level=0)),
    "large": (make_detector(height=1280, width=1280, k=300), BuildOptions(batch_size=1, optimization_level=0)),
}


class Cuda:
    """A GPU, real or fake, with the plans built for it."""

    def __init__(self, fake: FakeCuda | None, tensorrt: Any) -> None:
        self.fake = fake
        self.tensorrt = tensorrt
        self._plans: dict[str, bytes] = {}

    def plan(self, name: str) -> bytes:
        if name not in self._plans:
            self._plans[name] = build_plan(*MODELS[name])
        return self._plans[name]

    def free_bytes(self) -> int:
        gc.collect()
        context = cuda_context.cuda_context(0)
        with context.active():
            return context.memory_bytes()[0]


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Iterator[Cuda]:
    if request.param == "real":
        yield Cuda(None, None)
        return
    fake = FakeCuda([PhysicalGpu("NVIDIA H200", "GPU-aaaa", "0000:1B:00.0")])
    with pytest.MonkeyPatch.context() as patch:
        yield Cuda(fake, install(fake, patch))
    installed.forget()


@pytest.fixture
def nothing_left_behind(cuda: Cuda) -> Iterator[None]:
    yield
    if cuda.fake:
        cuda.fake.before_execution, cuda.fake.lost, cuda.fake.full_at = None, False, ""
        cuda.fake.graphs = cuda.fake.decodes = True
        assert cuda.fake.idle(), "a context was left pushed"


@pytest.fixture
def make_engine(cuda: Cuda) -> Iterator[Callable[..., TensorRTEngine]]:
    made: list[TensorRTEngine] = []

    def make(name: str = "dynamic", **options: Any) -> TensorRTEngine:
        made.append(TensorRTEngine(cuda.plan(name), **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()
