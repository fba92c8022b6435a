"""gpu: a CUDA index of this process means the right GPU where others are hidden or reordered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from azaion_engine.cuda import gpu
from azaion_engine.errors import ConfigurationError, MissingDependencyError
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_nvml import make_nvml

GPUS = [
    PhysicalGpu("NVIDIA H100 80GB HBM3", "GPU-aaaa", "0000:1B:00.0"),
    PhysicalGpu("NVIDIA L4", "GPU-bbbb", "0000:43:00.0", 24 * 2**30, (8, 9), 58),
    PhysicalGpu(
        "NVIDIA H200", "GPU-cccc", "0000:9B:00.0", 141 * 2**30, memory_used_bytes=7 * 2**30, utilization_percent=85
    ),
]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeCuda]]:
    made: list[Any] = []

    def make(visible: str | None = None, unsupported: tuple[str, ...] = ()) -> FakeCuda:
        fake = FakeCuda(GPUS)
        package: Any = ModuleType("pycuda")
        package.driver = fake.module
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", fake.module)
        made.append(make_nvml(GPUS, unsupported))
        monkeypatch.setitem(sys.modules, "pynvml", made[-1])
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return fake

    yield make
    assert all(nvml.users == 0 for nvml in made), "NVML was left initialised"


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (None, ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"]),
        ("2", ["GPU-cccc"]),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("1,2,0", ["GPU-bbbb", "GPU-cccc", "GPU-aaaa"]),
        ("GPU-bbbb", ["GPU-bbbb"]),
        ("GPU-cc,GPU-aaaa", ["GPU-cccc", "GPU-aaaa"]),
        ("1,-1,0", ["GPU-bbbb"]),
    ],
)
def test_cuda_index_leads_to_the_gpu_that_this_process_sees(host: Any, visible: str | None, uuids: list[str]) -> None:
    fake = host(visible)
    found = [gpu.describe_gpu(index) for index in range(len(uuids))]
    assert [one.uuid for one in found] == uuids
    for index, one in enumerate(found):
        physical = next(g for g in GPUS if g.uuid == one.uuid)
        assert (one.name, one.sm_count, one.device_id) == (physical.name, physical.sm_count, index)
        assert one.memory_bytes == gpu.get_gpu_memory_bytes(index) == physical.memory_bytes + 2**20
        major, minor = physical.compute_capability
        assert (
            gpu.find_engine_filename(index)
            == one.engine_filename
            == (f"azaion.cc_{major}.{minor}_sm_{physical.sm_count}.engine")
        )
    with pytest.raises(ConfigurationError, match=f"this process sees {len(uuids)}"):
        gpu.describe_gpu(len(uuids))
    assert fake.idle()
    assert not fake.stacks, "asking made a context"


@pytest.mark.parametrize("visible", ["", "-1", "GPU-none", "NoDevFiles"])
def test_no_visible_gpu(host: Any, visible: str) -> None:
    host(visible)
    assert not gpu.gpu_available()
    assert gpu.find_engine_filename() is None
    with pytest.raises(ConfigurationError, match="no usable GPU"):
        gpu.get_gpu_memory_bytes()


def test_available_says_yes_without_a_context(host: Any) -> None:
    fake = host()
    assert gpu.gpu_available()
    assert not fake.stacks


@pytest.mark.parametrize("name", ["nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetHandleByPciBusId"])
def test_what_nvml_does_not_support_comes_from_cuda_or_stays_open(host: Any, name: str) -> None:
    host(None, (name,))
    found = gpu.describe_gpu(1)
    assert found.uuid == ("GPU-bbbb" if name == "nvmlDeviceGetMemoryInfo" else "")
    assert found.memory_bytes == 24 * 2**30 + (2**20 if name == "nvmlDeviceGetUUID" else 0)


@pytest.mark.parametrize(("slice_gib", "expected"), [(10, 10 * 2**30), (75, 80 * 2**30 + 2**20)])
def test_a_slice_of_a_gpu_has_its_own_memory_not_its_parents(host: Any, slice_gib: int, expected: int) -> None:
    fake = host()
    fake.gpus = [replace(GPUS[0], memory_bytes=slice_gib * 2**30)]
    assert gpu.describe_gpu().memory_bytes == gpu.get_gpu_memory_bytes() == expected


def test_usage_is_that_of_the_gpu_that_this_process_sees(host: Any) -> None:
    fake = host("2")
    assert gpu.describe_gpu().usage() == gpu.GpuUsage(7 * 2**30, 0.85)
    assert not fake.stacks, "asking made a context"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvmlDeviceGetMemoryInfo", gpu.GpuUsage(None, 0.4)),
        ("nvmlDeviceGetUtilizationRates", gpu.GpuUsage(3 * 2**30, None)),
        ("nvmlDeviceGetHandleByPciBusId", gpu.GpuUsage(None, None)),
    ],
)
def test_usage_leaves_open_what_nvml_does_not_tell(host: Any, name: str, expected: gpu.GpuUsage) -> None:
    host(None, (name,))
    assert gpu.describe_gpu().usage() == expected


def test_usage_of_a_slice_does_not_tell_its_parents_memory(host: Any) -> None:
    fake = host()
    fake.gpus = [replace(GPUS[0], memory_bytes=10 * 2**30)]
    assert gpu.describe_gpu().usage().memory_used_bytes is None


def test_missing_packages_are_named(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingDependencyError, match="nvidia-ml-py"):
        gpu.describe_gpu()
    assert gpu.find_engine_filename() == "azaion.cc_9.0_sm_132.engine"
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    assert not gpu.gpu_available()
    assert gpu.find_engine_filename() is None
    with pytest.raises(MissingDependencyError, match="PyCUDA"):
        gpu.describe_gpu()


def test_importing_needs_no_gpu_package() -> None:
    code = (
        "import sys\n"
        "for name in ('pycuda', 'pynvml', 'tensorrt', 'tensorrt_rtx', 'onnxruntime', 'ray'): sys.modules[name] = None\n"
        "import azaion_engine.engines.tensorrt.engine as t\n"
        "print(t.TensorRTEngine.get_engine_filename())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "None", done.stderr


@pytest.mark.gpu
def test_real_gpu_under_its_index_and_its_uuid() -> None:
    code = (
        "from azaion_engine.cuda.gpu import describe_gpu, gpu_available; "
        "print(gpu_available() and describe_gpu(0).uuid)"
    )

    def ask(visible: str) -> str:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=True
        )
        return done.stdout.strip()

    here = gpu.describe_gpu(0)
    assert here.uuid.startswith("GPU-")
    assert here.memory_bytes > 2**30
    assert ask(here.uuid) == here.uuid
    assert ask("") == "False"
    import pynvml

    pynvml.nvmlInit()
    count = pynvml.nvmlDeviceGetCount()
    uuids = {pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)}
    pynvml.nvmlShutdown()
    if "CUDA_VISIBLE_DEVICES" not in os.environ:
        assert {ask(str(index)) for index in range(count)} == uuids
