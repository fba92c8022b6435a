"""Gpu: which GPU this process sees under a CUDA index, asked without making a CUDA context."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azaion_engine.cuda.context import get_device, load_driver
from azaion_engine.errors import AzaionError, MissingDependencyError

logger = logging.getLogger(__name__)

_PARENT = 1.2
"""NVML's total over CUDA's, from which on NVML speaks of the GPU around a MIG slice: on the same GPU NVML counts a few
percent more, what the driver keeps for itself; a parent has at least twice its slice, or the slice is nearly all of it.
"""


@dataclass(frozen=True)
class GpuUsage:
    """What NVML tells of a GPU at one moment; None for what it does not tell.

    Attributes:
        memory_used_bytes: Memory in use by all processes, in bytes.
        utilization: Share of NVML's last sample period (a sixth of a second to a second) in which a kernel ran, 0…1.
    """

    memory_used_bytes: int | None
    utilization: float | None


@dataclass(frozen=True)
class Gpu:
    """One GPU as this process sees it.

    Attributes:
        name: Product name, e.g. `NVIDIA H100 80GB HBM3`.
        uuid: NVML's UUID, e.g. `GPU-…`; empty where NVML does not tell.
        compute_capability: (major, minor).
        sm_count: Number of streaming multiprocessors.
        memory_bytes: Total memory in bytes.
        pci_bus_id: E.g. `0000:1B:00.0`.
        device_id: CUDA index in this process.
    """

    name: str
    uuid: str
    compute_capability: tuple[int, int]
    sm_count: int
    memory_bytes: int
    pci_bus_id: str
    device_id: int

    @property
    def engine_filename(self) -> str:
        """File name under which engines for this kind of GPU are kept."""
        return engine_filename(self.compute_capability, self.sm_count)

    def usage(self) -> GpuUsage:
        """Asks NVML how busy the GPU is; takes a few milliseconds, and no CUDA context.

        Raises:
            MissingDependencyError: NVML or the NVIDIA driver is not installed.
        """
        with _nvml() as nvml:
            try:
                handle = nvml.nvmlDeviceGetHandleByPciBusId(self.pci_bus_id)
            except nvml.NVMLError as error:
                logger.debug("NVML does not know the GPU at %s: %s", self.pci_bus_id, error)
                return GpuUsage(None, None)
            used: int | None = None
            utilization: float | None = None
            try:
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                # Of a MIG slice NVML tells what the whole GPU around it uses.
                used = int(memory.used) if int(memory.total) < _PARENT * self.memory_bytes else None
            except nvml.NVMLError as error:
                logger.debug("NVML does not tell the memory of %s: %s", self.pci_bus_id, error)
            try:
                utilization = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            except nvml.NVMLError as error:
                logger.debug("NVML does not tell the utilization of %s: %s", self.pci_bus_id, error)
            return GpuUsage(used, utilization)


def engine_filename(compute_capability: tuple[int, int], sm_count: int) -> str:
    """Returns `azaion.cc_{major}.{minor}_sm_{sm_count}.engine`."""
    major, minor = compute_capability
    return f"azaion.cc_{major}.{minor}_sm_{sm_count}.engine"


def gpu_available() -> bool:
    """Says whether this process sees a GPU through PyCUDA; never raises, makes no context."""
    try:
        return int(load_driver().Device.count()) > 0
    except Exception as error:  # whatever a half-installed driver throws, the answer is no
        logger.debug("no GPU: %s", error)
        return False


def describe_gpu(device_id: int = 0) -> Gpu:
    """Describes a GPU.

    Args:
        device_id: CUDA index as this process sees it, whatever CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER say.

    Raises:
        MissingDependencyError: PyCUDA, NVML or the NVIDIA driver is not installed.
        ConfigurationError: This process sees no such GPU.
    """
    device = get_device(device_id)
    pci_bus_id = str(device.pci_bus_id())
    uuid, memory = _ask_nvml(pci_bus_id)
    return Gpu(
        name=str(device.name()),
        uuid=uuid or "",
        compute_capability=compute_capability(device),
        sm_count=sm_count(device),
        memory_bytes=_total_memory(device, memory),
        pci_bus_id=pci_bus_id,
        device_id=device_id,
    )


def get_gpu_memory_bytes(device_id: int = 0) -> int:
    """Returns the total memory of a GPU in bytes, from NVML; from CUDA where NVML does not tell of this very GPU.

    Args:
        device_id: CUDA index as this process sees it.

    Raises:
        MissingDependencyError: PyCUDA, NVML or the NVIDIA driver is not installed.
        ConfigurationError: This process sees no such GPU.
    """
    device = get_device(device_id)
    _, memory = _ask_nvml(str(device.pci_bus_id()))
    return _total_memory(device, memory)


def find_engine_filename(device_id: int = 0) -> str | None:
    """Returns the engine file name of a GPU, None without a GPU, a driver or PyCUDA."""
    try:
        device = get_device(device_id)
        return engine_filename(compute_capability(device), sm_count(device))
    except AzaionError as error:
        logger.debug("no engine file name: %s", error)
        return None


def compute_capability(device: Any) -> tuple[int, int]:
    """Returns (major, minor) of a `pycuda.driver.Device`."""
    major, minor = device.compute_capability()
    return int(major), int(minor)


def sm_count(device: Any) -> int:
    """Returns the number of streaming multiprocessors of a `pycuda.driver.Device`."""
    return int(device.get_attribute(load_driver().device_attribute.MULTIPROCESSOR_COUNT))


def _total_memory(device: Any, nvml_total: int | None) -> int:
    """Chooses between NVML's total and CUDA's: of a MIG slice NVML tells the memory of the whole GPU around it."""
    cuda_total = int(device.total_memory())
    return nvml_total if nvml_total and nvml_total < _PARENT * cuda_total else cuda_total


def _ask_nvml(pci_bus_id: str) -> tuple[str | None, int | None]:
    """Asks NVML for UUID and total memory; None for what it does not tell.

    NVML numbers all GPUs of the host and ignores CUDA_VISIBLE_DEVICES, so the PCI bus is the only
    bridge from a CUDA index to it.
    """
    with _nvml() as nvml:
        try:
            handle = nvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id)
        except nvml.NVMLError as error:
            logger.debug("NVML does not know the GPU at %s: %s", pci_bus_id, error)
            return None, None
        uuid: str | None = None
        memory: int | None = None
        # Integrated GPUs and MIG instances answer NOT_SUPPORTED or NO_PERMISSION to one or the other.
        try:
            uuid = str(nvml.nvmlDeviceGetUUID(handle))
        except nvml.NVMLError as error:
            logger.debug("NVML does not tell the UUID of %s: %s", pci_bus_id, error)
        try:
            memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
        except nvml.NVMLError as error:
            logger.debug("NVML does not tell the memory of %s: %s", pci_bus_id, error)
        return uuid, memory


@contextmanager
def _nvml() -> Iterator[Any]:
    try:
        import pynvml  # the module of the package nvidia-ml-py
    except ImportError as error:
        raise MissingDependencyError(f"NVML's Python module is missing ({error}): pip install nvidia-ml-py") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MissingDependencyError(f"NVML cannot be initialised, is the NVIDIA driver installed? {error}") from error
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()
