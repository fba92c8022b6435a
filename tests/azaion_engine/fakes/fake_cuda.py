"""Fake `pycuda.driver` in host memory: contexts, pinned arrays, allocations and streams.

It raises errors where PyCUDA fails silently or crashes: every call needs a current context, and memory is freed only
while the context that made it is current. Asynchronous work runs at `synchronize`, not before; work put on a stream
that is being recorded runs only when the graph is launched.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np

from azaion_engine.pictures.gpu.letterbox_kernel import RECORD, RUN
from azaion_engine.pictures.letterbox import Letterbox
from tests.azaion_engine.fakes.fake_entropy import FakeEntropy
from tests.azaion_engine.fakes.fake_select import FakeSelect


@dataclass(frozen=True)
class PhysicalGpu:
    """A GPU of the machine; NVML lists them in PCI bus order."""

    name: str
    uuid: str
    pci_bus_id: str
    memory_bytes: int = 80 * 2**30
    compute_capability: tuple[int, int] = (9, 0)
    sm_count: int = 132
    memory_used_bytes: int = 3 * 2**30
    utilization_percent: int = 40


class FakeCuda:
    """A machine with GPUs, of which a process sees those in CUDA_VISIBLE_DEVICES at the time of `init`."""

    def __init__(self, gpus: list[PhysicalGpu]) -> None:
        self.gpus = gpus
        self.visible: list[PhysicalGpu] | None = None
        self.lost = False
        self.full_at = ""
        """Step at which GPU memory runs out for TensorRT: `plan`, `context` or `second context`; empty for none."""
        self.allocated: dict[int, Any] = {}
        self.stacks: dict[int, list[FakeContext]] = {}
        self.pinned_at: dict[int, Any] = {}
        """All pinned memory, by address."""
        self.at_work = threading.RLock()
        self.context_flags: dict[int, int] = {}
        self.contexts: set[int] = set()
        """Devices whose primary context exists."""
        self.graphs = True
        """Whether the driver can record graphs."""
        self.graph_launches = 0
        self.decodes = True
        """Whether the GPU can decode JPEGs."""
        self.decoding_hardware = True
        """Whether it has dedicated hardware for that."""
        self.decoded = 0
        self.nvjpeg: Any = None
        """The library that is installed, once `install` ran."""
        self.before_execution: Callable[[], None] | None = None
        self.module = self._make_module()

    @property
    def pinned(self) -> int:
        """Number of pinned allocations that are not freed yet."""
        return len(self.pinned_at)

    def check(self) -> FakeContext:
        stack = self.stacks.get(threading.get_ident(), [])
        if not stack:
            raise self.Error("invalid device context")
        if self.lost:
            raise self.Error("unspecified launch failure")
        return stack[-1]

    def memory(self, address: int, size: int) -> int:
        """Checks that a range lies in one allocation, and returns its address."""
        for start, held in list(self.allocated.items()):
            if start <= address and address + size <= start + ctypes.sizeof(held):
                return address
        raise AssertionError(f"{size} bytes at {address} are not allocated")

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
                break  # as CUDA, which ignores all devices from the first unknown one on
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
                self.index, self.gpu = index, (cuda.visible or [])[index]

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
                cuda.contexts.add(self.index)
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

        def memcpy_htod_async(dest: int, src: np.ndarray[Any, Any], stream: FakeStream) -> None:
            cuda.check()
            assert src.flags.c_contiguous
            target = cuda.memory(int(dest), src.nbytes)
            stream.put(lambda: ctypes.memmove(target, src.ctypes.data, src.nbytes))

        def memcpy_dtoh_async(dest: np.ndarray[Any, Any], src: int, stream: FakeStream) -> None:
            cuda.check()
            assert dest.flags.c_contiguous
            source = cuda.memory(int(src), dest.nbytes)
            stream.put(lambda: ctypes.memmove(dest.ctypes.data, source, dest.nbytes))

        def memset_d8_async(dest: int, data: int, size: int, stream: FakeStream) -> None:
            cuda.check()
            target = cuda.memory(int(dest), size)
            stream.put(lambda: ctypes.memset(target, data, size))

        def module_from_buffer(ptx: bytes) -> Any:
            cuda.check()
            assert ptx.endswith(b"\0"), "the driver reads on to a zero"
            kernels = {
                "letterbox": FakeLetterbox,
                "candidates": FakeSelect,
                "suppress": FakeSelect,
                "keypoints": FakeSelect,
                "entropy": FakeEntropy,
            }
            return SimpleNamespace(get_function=lambda name: kernels[name.split("_")[0]](cuda, ptx, name))

        def mem_get_info() -> tuple[int, int]:
            cuda.check()
            total = cuda.gpus[0].memory_bytes
            return total - sum(len(memory) for memory in list(cuda.allocated.values())), total

        self.Error = module.Error = Error
        module.MemoryError = CudaMemoryError
        module.Device, module.init = Device, init
        module.device_attribute = SimpleNamespace(MULTIPROCESSOR_COUNT="sms")
        module.Context = SimpleNamespace(pop=lambda: cuda.stacks[threading.get_ident()].pop())
        module.Stream = lambda flags: FakeStream(cuda, flags)
        module.Event = lambda flags: FakeEvent(cuda, flags)
        module.event_flags = SimpleNamespace(DISABLE_TIMING=2, BLOCKING_SYNC=1)
        module.mem_alloc, module.pagelocked_empty, module.mem_get_info = mem_alloc, pagelocked_empty, mem_get_info
        module.memcpy_htod_async, module.memcpy_dtoh_async = memcpy_htod_async, memcpy_dtoh_async
        module.memset_d8_async, module.module_from_buffer = memset_d8_async, module_from_buffer
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
        self.recording: list[Callable[[], Any]] | None = None
        self.handle = id(self)
        streams[self.handle] = self

    def put(self, work: Callable[[], Any]) -> None:
        (self.queue if self.recording is None else self.recording).append(work)

    def synchronize(self) -> None:
        self.cuda.check()
        if self.recording is not None:
            raise self.cuda.Error("operation not permitted when stream is capturing")
        while self.queue:
            self.step()
        self.cuda.check()

    def step(self) -> None:
        """Runs the next piece of work; called by threads that wait for this stream or for an event on it."""
        with self.cuda.at_work:  # one lock for all streams: streams that wait for each other's events must not deadlock
            if self.queue:
                self.queue.pop(0)()

    def wait_for_event(self, event: FakeEvent) -> None:
        recorded = event.recorded
        self.put(lambda: event.wait(recorded))

    def is_done(self) -> bool:
        self.cuda.check()
        return not self.queue


streams: dict[int, FakeStream] = {}


class FakeEvent:
    """As in CUDA, a wait is for the latest recording at the time of the call."""

    def __init__(self, cuda: FakeCuda, flags: int) -> None:
        cuda.check()
        self.recorded = self.reached = 0
        self.stream: FakeStream | None = None

    def record(self, stream: FakeStream) -> None:
        self.recorded += 1
        self.stream = stream
        recorded = self.recorded
        stream.put(lambda: setattr(self, "reached", recorded))

    def synchronize(self) -> None:
        self.wait(self.recorded)

    def wait(self, recorded: int) -> None:
        while self.reached < recorded:
            assert self.stream is not None
            self.stream.step()


class _Pinned:
    """Owner of pinned memory: the base of its arrays, as in PyCUDA."""

    def __init__(self, cuda: FakeCuda, size: int) -> None:
        self.cuda, self.context = cuda, cuda.check()
        self.memory = ctypes.create_string_buffer(max(size, 1))
        cuda.pinned_at[ctypes.addressof(self.memory)] = self.memory

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
        del self.cuda.pinned_at[ctypes.addressof(self.memory)]


class FakeLetterbox:
    """The letterbox kernel on the CPU, on the views that its records describe."""

    def __init__(self, cuda: FakeCuda, ptx: bytes, name: str) -> None:
        assert f".entry {name}(".encode() in ptx
        self.cuda, self.dtype = cuda, np.dtype(name.split("_")[-1])
        self.formed = name.startswith("letterbox_form")

    def __call__(
        self,
        records: np.uint64,
        network_input: np.uint64,
        width: np.int32,
        height: np.int32,
        *more: Any,
        block: tuple[int, int, int],
        grid: tuple[int, int, int],
        stream: FakeStream,
    ) -> None:
        self.cuda.check()
        assert bool(more) is self.formed
        assert grid[0] * block[0] * RUN >= width
        assert grid[1] * block[1] >= height
        shape = (grid[2], 3, int(height), int(width))
        table = self._view(int(records), (grid[2],), RECORD)
        out = self._view(int(network_input), shape, self.dtype)
        stream.put(lambda: self._run_form(table, out, *more) if more else self._run(table, out))

    def _view(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self.cuda.memory(address, size))
        return np.frombuffer(memory, dtype).reshape(shape)

    def _run(self, table: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        for record, target in zip(table, out, strict=True):
            box = Letterbox.fit(int(record["width"]), int(record["height"]), *target.shape[1:])
            place = (box.pad_left, box.pad_top, box.resized_width, box.resized_height)
            assert place == tuple(int(record[name]) for name in ("left", "top", "resized_width", "resized_height"))
            first = np.frombuffer((ctypes.c_uint8 * 3).from_address(int(record["pixels"])), np.uint8)
            pixels = np.lib.stride_tricks.as_strided(
                first, (box.picture_height, box.picture_width, 3), (int(record["step_y"]), int(record["step_x"]), 1)
            )
            target[...] = box.to_input(pixels)

    def _run_form(
        self, table: np.ndarray[Any, Any], out: np.ndarray[Any, Any], tables: np.uint64, reverse: np.int32
    ) -> None:
        values = self._view(int(tables), (3, 256), np.dtype(np.float32))
        for record, target in zip(table, out, strict=True):
            step_x, step_y, rows, columns = (int(record[name]) for name in ("step_x", "step_y", "height", "width"))
            first = np.frombuffer((ctypes.c_uint8 * 3).from_address(int(record["pixels"])), np.uint8)
            pixels = np.lib.stride_tricks.as_strided(first, (rows, columns, 3), (step_y, step_x, 1))
            left, top = int(record["left"]), int(record["top"])
            size = (int(record["resized_width"]), int(record["resized_height"]))
            resized = cv2.resize(np.ascontiguousarray(pixels), size)
            canvas = np.full((*target.shape[1:], 3), 114, np.uint8)
            canvas[top : top + size[1], left : left + size[0]] = resized
            planes = canvas.transpose(2, 0, 1)[:: -1 if reverse else 1]
            for plane, levels, look in zip(target, planes, values, strict=True):
                plane[...] = look[levels]


class FakeLibcuda:
    """The driver's functions that the project calls through `ctypes`, not through PyCUDA."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.graphs: dict[int, list[Callable[[], Any]]] = {}
        self.handles = itertools.count(1)

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:
        self.cuda.check()
        if not self.cuda.graphs:
            return 801
        streams[stream.value].recording = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        recorded = streams[stream.value].recording
        streams[stream.value].recording = None
        assert recorded is not None
        return self._keep(recorded, graph)

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:
        return self._keep(self.graphs[graph.value], executable)

    def cuGraphLaunch(self, executable: Any, stream: Any) -> int:
        self.cuda.check()
        self.cuda.graph_launches += 1
        for work in self.graphs[executable.value]:
            streams[stream.value].put(work)
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        self.cuda.check()
        del self.graphs[graph.value]
        return 0

    cuGraphExecDestroy = cuGraphDestroy

    def cuInit(self, flags: int) -> int:
        try:
            self.cuda.module.init()
        except self.cuda.Error:
            return 100
        return 0

    def cuDevicePrimaryCtxSetFlags_v2(self, device: int, flags: int) -> int:
        if device in self.cuda.contexts:
            return 708
        self.cuda.context_flags[device] = flags
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> int:
        if device >= len(self.cuda.visible or []):
            return 101
        self.cuda.contexts.add(device)
        return 0

    def cuMemHostAlloc(self, pointer: Any, size: Any, flags: int) -> int:
        self.cuda.check()
        if size.value > self.cuda.gpus[0].memory_bytes:
            return 2
        memory = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(memory)
        self.cuda.pinned_at[pointer._obj.value] = memory
        return 0

    def cuMemFreeHost(self, pointer: Any) -> int:
        self.cuda.check()
        del self.cuda.pinned_at[pointer.value]
        return 0

    def cuPointerGetAttribute(self, kind: Any, attribute: int, address: Any) -> int:
        self.cuda.check()
        held = self.cuda.pinned_at.items()
        if attribute == 2 and any(0 <= address.value - at < ctypes.sizeof(memory) for at, memory in held):
            kind._obj.value = 1
            return 0
        return 1

    def cuGetErrorName(self, status: int, name: Any) -> int:
        name._obj.value = b"CUDA_ERROR_NOT_SUPPORTED"
        return 0

    def _keep(self, work: list[Callable[[], Any]], handle: Any) -> int:
        handle._obj.value = next(self.handles)
        self.graphs[handle._obj.value] = work
        return 0
