"""A `pycuda.driver` of host memory: contexts, pinned arrays, allocations and streams with PyCUDA's own strictness.

What it is strict about, because PyCUDA punishes it silently or fatally: every call needs a current
context, memory is freed only while the context object is current that made it, and asynchronous
work happens at `synchronize`, not before.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PhysicalGpu:
    """A GPU in the host, in PCI bus order, as NVML lists them."""

    name: str
    uuid: str
    pci_bus_id: str
    memory_bytes: int = 80 * 2**30
    compute_capability: tuple[int, int] = (9, 0)
    sm_count: int = 132
    memory_used_bytes: int = 3 * 2**30
    utilization_percent: int = 40


class FakeCuda:
    """A host with GPUs, seen by one process through CUDA_VISIBLE_DEVICES at the moment of `init`."""

    def __init__(self, gpus: list[PhysicalGpu]) -> None:
        self.gpus = gpus
        self.visible: list[PhysicalGpu] | None = None
        self.lost = False
        self.full_at = ""
        """Where TensorRT finds no more GPU memory: `plan`, `context`, or nowhere."""
        self.allocated: dict[int, Any] = {}
        self.stacks: dict[int, list[FakeContext]] = {}
        self.pinned = 0
        self.launched_on: set[int] = set()
        self.before_execution: Callable[[], None] | None = None
        self.module = self._make_module()

    def check(self) -> FakeContext:
        stack = self.stacks.get(threading.get_ident(), [])
        if not stack:
            raise self.Error("invalid device context")
        if self.lost:
            raise self.Error("unspecified launch failure")
        return stack[-1]

    def idle(self) -> bool:
        """Whether no thread has a context left pushed."""
        return not any(self.stacks.values())

    def _see(self) -> list[PhysicalGpu]:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        if given is None:
            return list(self.gpus)
        seen = []
        for item in given.split(","):
            if item.strip().isdigit() and int(item) < len(self.gpus):
                seen.append(self.gpus[int(item)])
            elif item.startswith("GPU-") and any(gpu.uuid.startswith(item) for gpu in self.gpus):
                seen.append(next(gpu for gpu in self.gpus if gpu.uuid.startswith(item)))
            else:
                break  # CUDA stops at the first one that it does not know
        return seen

    def _make_module(self) -> ModuleType:
        cuda = self
        module: Any = ModuleType("pycuda.driver")

        class Error(Exception):
            pass

        class CudaMemoryError(Error, MemoryError):
            pass

        class Device:
            def __init__(self, index: int) -> None:
                self.gpu = (cuda.visible or [])[index]

            @staticmethod
            def count() -> int:
                return len(cuda.visible or [])

            def name(self) -> str:
                return self.gpu.name

            def pci_bus_id(self) -> str:
                return self.gpu.pci_bus_id

            def compute_capability(self) -> tuple[int, int]:
                return self.gpu.compute_capability

            def total_memory(self) -> int:
                return self.gpu.memory_bytes

            def get_attribute(self, attribute: str) -> int:
                assert attribute == "sms"
                return self.gpu.sm_count

            def retain_primary_context(self) -> FakeContext:
                return FakeContext(cuda)

        def init() -> None:
            if cuda.visible is None:
                seen = cuda._see()
                if not seen:
                    raise Error("cuInit failed: no CUDA-capable device is detected")
                cuda.visible = seen

        def mem_alloc(size: int) -> FakeAllocation:
            if size > cuda.gpus[0].memory_bytes:
                raise CudaMemoryError("cuMemAlloc failed: out of memory")
            return FakeAllocation(cuda, size)

        def pagelocked_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
            return _Pinned(cuda, int(np.prod(shape)) * np.dtype(dtype).itemsize).array(shape, dtype)

        def memcpy_htod_async(dest: FakeAllocation, src: np.ndarray[Any, Any], stream: FakeStream) -> None:
            cuda.check()
            assert src.flags.c_contiguous
            assert src.nbytes <= dest.size
            stream.queue.append(lambda: ctypes.memmove(dest.address, src.ctypes.data, src.nbytes))

        def memcpy_dtoh_async(dest: np.ndarray[Any, Any], src: FakeAllocation, stream: FakeStream) -> None:
            cuda.check()
            assert dest.flags.c_contiguous
            assert dest.nbytes <= src.size
            stream.queue.append(lambda: ctypes.memmove(dest.ctypes.data, src.address, dest.nbytes))

        def mem_get_info() -> tuple[int, int]:
            cuda.check()
            total = cuda.gpus[0].memory_bytes
            return total - sum(len(memory) for memory in cuda.allocated.values()), total

        self.Error = module.Error = Error
        module.MemoryError = CudaMemoryError
        module.Device, module.init = Device, init
        module.device_attribute = SimpleNamespace(MULTIPROCESSOR_COUNT="sms")
        module.Context = SimpleNamespace(pop=lambda: cuda.stacks[threading.get_ident()].pop())
        module.Stream = lambda flags: FakeStream(cuda, flags)
        module.mem_alloc, module.pagelocked_empty, module.mem_get_info = mem_alloc, pagelocked_empty, mem_get_info
        module.memcpy_htod_async, module.memcpy_dtoh_async = memcpy_htod_async, memcpy_dtoh_async
        return module


class FakeContext:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def push(self) -> None:
        self.cuda.stacks.setdefault(threading.get_ident(), []).append(self)


class FakeAllocation:
    def __init__(self, cuda: FakeCuda, size: int) -> None:
        self.cuda, self.size, self.context = cuda, size, cuda.check()
        memory = ctypes.create_string_buffer(size)
        self.address = ctypes.addressof(memory)
        cuda.allocated[self.address] = memory

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        assert self.cuda.check() is self.context, "PyCUDA would leak this"
        del self.cuda.allocated[self.address]


class FakeStream:
    def __init__(self, cuda: FakeCuda, flags: int) -> None:
        self.cuda, self.flags, self.queue, self.context = cuda, flags, [], cuda.check()
        self.handle = id(self)
        streams[self.handle] = self

    def synchronize(self) -> None:
        self.cuda.check()
        while self.queue:
            self.queue.pop(0)()
        self.cuda.check()

    def is_done(self) -> bool:
        self.cuda.check()
        return not self.queue


streams: dict[int, FakeStream] = {}


class _Pinned:
    """Owner of pinned memory; the array's base, as in PyCUDA."""

    def __init__(self, cuda: FakeCuda, size: int) -> None:
        self.cuda, self.context = cuda, cuda.check()
        self.memory = ctypes.create_string_buffer(max(size, 1))
        cuda.pinned += 1

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        dtype = np.dtype(dtype)
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (ctypes.addressof(self.memory), False),
            "version": 3,
        }
        return np.asarray(self)

    def free(self) -> None:
        assert self.cuda.check() is self.context, "PyCUDA would leak this"
        self.cuda.pinned -= 1
