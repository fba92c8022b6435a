"""Fake `pynvml`: lists every physical GPU and ignores CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from tests.azaion_engine.fakes.fake_cuda import PhysicalGpu


def make_nvml(gpus: list[PhysicalGpu], unsupported: tuple[str, ...] = ()) -> Any:
    """Makes the module; the functions named in `unsupported` answer NOT_SUPPORTED."""
    module: Any = ModuleType("pynvml")
    module.users = 0

    class NVMLError(Exception):
        pass

    def nvmlInit() -> None:
        module.users += 1

    def nvmlShutdown() -> None:
        module.users -= 1

    def check(name: str) -> None:
        assert module.users > 0, "NVML was not initialised"
        if name in unsupported:
            raise NVMLError("Not Supported")

    def nvmlDeviceGetHandleByPciBusId(bus: str) -> PhysicalGpu:
        check("nvmlDeviceGetHandleByPciBusId")
        found = [gpu for gpu in gpus if gpu.pci_bus_id == bus]
        if not found:
            raise NVMLError("Not Found")
        return found[0]

    def nvmlDeviceGetUUID(gpu: PhysicalGpu) -> str:
        check("nvmlDeviceGetUUID")
        return gpu.uuid

    def nvmlDeviceGetMemoryInfo(gpu: PhysicalGpu) -> Any:
        check("nvmlDeviceGetMemoryInfo")
        # NVML counts more than CUDA: it includes memory reserved by the driver.
        return SimpleNamespace(total=gpu.memory_bytes + 2**20, used=gpu.memory_used_bytes)

    def nvmlDeviceGetUtilizationRates(gpu: PhysicalGpu) -> Any:
        check("nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=gpu.utilization_percent, memory=0)

    def nvmlSystemGetDriverVersion() -> str:
        check("nvmlSystemGetDriverVersion")
        return "580.159.03"

    module.NVMLError = NVMLError
    module.nvmlSystemGetDriverVersion = nvmlSystemGetDriverVersion
    module.nvmlDeviceGetCount = lambda: len(gpus)
    module.nvmlDeviceGetHandleByIndex = lambda index: gpus[index]
    module.nvmlDeviceGetName = lambda gpu: gpu.name
    module.nvmlInit, module.nvmlShutdown = nvmlInit, nvmlShutdown
    module.nvmlDeviceGetHandleByPciBusId = nvmlDeviceGetHandleByPciBusId
    module.nvmlDeviceGetUUID = nvmlDeviceGetUUID
    module.nvmlDeviceGetMemoryInfo = nvmlDeviceGetMemoryInfo
    module.nvmlDeviceGetUtilizationRates = nvmlDeviceGetUtilizationRates
    return module
