"""Gpu: properties of the GPU at a CUDA index, read without making a CUDA context."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azaion_engine.cuda.context import get_device, load_driver
from azaion_engine.errors import AzaionError, MissingDependencyError
from azaion_engine.extras import import_extra

logger = logging.getLogger(__name__)

_PARENT = 1.2
"""Ratio of NVML's total memory to CUDA's from which NVML's value belongs to the whole GPU around a MIG slice.

For the same GPU, NVML counts slightly more than CUDA: the driver's own memory. The whole GPU has at least twice the
memory of a slice, or the slice is nearly all of it.
"""


@dataclass(frozen=True)
class GpuUsage:
    """What NVML reports of a GPU at one moment; None for a value that it does not report.

    Attributes:
        memory_used_bytes: Memory in use by all processes, in bytes.
        utilization: Share of NVML's last sample period (1/6 to 1 second) in which a kernel ran, 0…1.
    """

    memory_used_bytes: int | None
    utilization: float | None


@dataclass(frozen=True)
class Gpu:
    """One GPU as this process sees it.

    Attributes:
        name: Product name, e.g. `NVIDIA H100 80GB HBM3`.
        uuid: NVML's UUID, e.g. `GPU-…`; empty where NVML does not report it.
        compute_capability: (major, minor).
        sm_count: Number of streaming multiprocessors.
        memory_bytes: Total memory in bytes.
        pci_bus_id: PCI bus id, e.g. `0000:1B:00.0`.
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
        """File name of plans for this kind of GPU."""
        return engine_filename(self.compute_capability, self.sm_count)

    def usage(self) -> GpuUsage:
        """Asks NVML how busy the GPU is; fast, and needs no CUDA context.

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
                # For a MIG slice, NVML reports the usage of the whole GPU around it.
                used = int(memory.used) if int(memory.total) < _PARENT * self.memory_bytes else None
            except nvml.NVMLError as error:
                logger.debug("NVML does not report the memory of %s: %s", self.pci_bus_id, error)
            try:
                utilization = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            except nvml.NVMLError as error:
                logger.debug("NVML does not report the utilization of %s: %s", self.pci_bus_id, error)
            return GpuUsage(used, utilization)


def engine_filename(compute_capability: tuple[int, int], sm_count: int) -> str:
    """Returns `azaion.cc_{major}.{minor}_sm_{sm_count}.engine`."""
    major, minor = compute_capability
    return f"azaion.cc_{major}.{minor}_sm_{sm_count}.engine"


def gpu_available() -> bool:
    """Says whether this process sees a GPU through PyCUDA; never raises, makes no context."""
    try:
        return int(load_driver().Device.count()) > 0
    except Exception as error:  # a half-installed driver may raise anything
        logger.debug("no GPU: %s", error)
        return False


def describe_gpu(device_id: int = 0) -> Gpu:
    """Reads the properties of a GPU.

    Args:
        device_id: CUDA index in this process, which CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER affect.

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
    """Returns the total memory of a GPU or MIG slice in bytes, from NVML; from CUDA where NVML does not report it.

    Args:
        device_id: CUDA index in this process.

    Raises:
        MissingDependencyError: PyCUDA, NVML or the NVIDIA driver is not installed.
        ConfigurationError: This process sees no such GPU.
    """
    device = get_device(device_id)
    _, memory = _ask_nvml(str(device.pci_bus_id()))
    return _total_memory(device, memory)


def find_engine_filename(device_id: int = 0) -> str | None:
    """Returns the plan file name of a GPU; None without a GPU, a driver or PyCUDA."""
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
    """Returns NVML's total, else CUDA's: for a MIG slice, NVML reports the memory of the whole GPU around it."""
    cuda_total = int(device.total_memory())
    return nvml_total if nvml_total and nvml_total < _PARENT * cuda_total else cuda_total


def _ask_nvml(pci_bus_id: str) -> tuple[str | None, int | None]:
    """Asks NVML for UUID and total memory; None for a value that it does not report.

    NVML numbers all GPUs of the machine and ignores CUDA_VISIBLE_DEVICES, so only the PCI bus id identifies the GPU
    of a CUDA index.
    """
    with _nvml() as nvml:
        try:
            handle = nvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id)
        except nvml.NVMLError as error:
            logger.debug("NVML does not know the GPU at %s: %s", pci_bus_id, error)
            return None, None
        uuid: str | None = None
        memory: int | None = None
        # Integrated GPUs and MIG instances answer NOT_SUPPORTED or NO_PERMISSION to either query.
        try:
            uuid = str(nvml.nvmlDeviceGetUUID(handle))
        except nvml.NVMLError as error:
            logger.debug("NVML does not report the UUID of %s: %s", pci_bus_id, error)
        try:
            memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
        except nvml.NVMLError as error:
            logger.debug("NVML does not report the memory of %s: %s", pci_bus_id, error)
        return uuid, memory


@contextmanager
def _nvml() -> Iterator[Any]:
    pynvml = import_extra("pynvml", "NVML's Python module", "pip install nvidia-ml-py")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MissingDependencyError(f"NVML cannot be initialised, is the NVIDIA driver installed? {error}") from error
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()
