"""CudaContext: a GPU's primary CUDA context, pushed before each use and popped after it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from azaion_engine.cuda.libcuda import LibcudaError, call
from azaion_engine.errors import ConfigurationError
from azaion_engine.extras import import_extra

_BLOCKING_SYNC = 4
"""CU_CTX_SCHED_BLOCKING_SYNC (cuda.h): a thread sleeps while it waits for the GPU. Spinning would wake up slightly
earlier, but occupy one core per lane that receiving pictures needs."""

_HARDWARE_QUEUES = "32"
"""CUDA_DEVICE_MAX_CONNECTIONS: with the default of 8, streams of lanes and decoders would share hardware queues."""

_STREAM_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING (cuda.h): the stream does not wait for the legacy default stream that other libraries use."""

_lock = threading.Lock()
_contexts: dict[int, CudaContext] = {}
_begun: dict[int, threading.Thread] = {}


def begin_context(device_id: int = 0) -> None:
    """Starts making a GPU's context in a background thread: that is slow, and the caller can import meanwhile.

    Calls the driver directly, since PyCUDA would hold the GIL. Errors are ignored here; `cuda_context` raises them.

    Args:
        device_id: CUDA index of the GPU.
    """
    if importlib.util.find_spec("pycuda") is None:
        return  # without PyCUDA nothing uses a context
    _count_queues()
    with _lock:
        if device_id not in _begun:
            _begun[device_id] = threading.Thread(target=_begin, args=(device_id,), name="CUDA context", daemon=True)
            _begun[device_id].start()


def _begin(device_id: int) -> None:
    with suppress(LibcudaError, OSError):  # no GPU, or no driver
        call("cuInit", 0)
        _set_flags(device_id)
        call("cuDevicePrimaryCtxRetain", ctypes.byref(ctypes.c_void_p()), device_id)


def _set_flags(device_id: int) -> None:
    with suppress(LibcudaError):  # another library has already made the context with its own flags
        call("cuDevicePrimaryCtxSetFlags_v2", device_id, _BLOCKING_SYNC)


def _count_queues() -> None:
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", _HARDWARE_QUEUES)  # the driver reads it when it starts


def load_driver() -> Any:
    """Imports and initialises PyCUDA's driver module; makes no context.

    Returns:
        The module `pycuda.driver`.

    Raises:
        MissingDependencyError: PyCUDA or the NVIDIA driver is not installed.
        ConfigurationError: The driver is installed but unusable, or shows this process no GPU.
    """
    # Never pycuda.autoinit: it would make a context in the thread that imports it first.
    remedy = "on a host with an NVIDIA driver, pip install 'azaion-engine[gpu]'"
    driver = import_extra("pycuda.driver", "PyCUDA", remedy)
    _count_queues()
    try:
        driver.init()
    except driver.Error as error:
        raise ConfigurationError(f"the NVIDIA driver shows this process no usable GPU: {error}") from error
    return driver


def get_device(device_id: int) -> Any:
    """Returns the `pycuda.driver.Device` at a CUDA index of this process; makes no context.

    Raises:
        MissingDependencyError: PyCUDA or the NVIDIA driver is not installed.
        ConfigurationError: This process sees no such GPU.
    """
    driver = load_driver()
    count = int(driver.Device.count())
    if not 0 <= device_id < count:
        raise ConfigurationError(f"no GPU {device_id}: this process sees {count} (CUDA_VISIBLE_DEVICES decides)")
    return driver.Device(device_id)


class CudaContext:
    """The primary context of one GPU, shared with every other CUDA library in the process.

    Retained once per process and GPU, and released only when the process ends: PyCUDA silently skips the release
    when a thread other than the retaining one detaches, and the runtime libraries (TensorRT, nvJPEG) keep
    using the primary context anyway. An engine frees what it allocates in it.
    """

    def __init__(self, device_id: int) -> None:
        """Retains the context without pushing it. Use `cuda_context` instead, which keeps one per GPU."""
        self.device_id = device_id
        device = get_device(device_id)
        _set_flags(device_id)
        self._context = device.retain_primary_context()
        self.driver: Any = load_driver()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the context current in the calling thread inside a `with` block.

        Memory and streams must be freed inside such a block too: PyCUDA frees them only while the same context object
        is current as when they were made.
        """
        self._context.push()
        try:
            yield
        finally:
            # A context that is still pushed when its thread ends makes PyCUDA abort the process.
            self.driver.Context.pop()

    def memory_bytes(self) -> tuple[int, int]:
        """Returns (free, total) bytes of GPU memory; the context must be active."""
        free, total = self.driver.mem_get_info()
        return int(free), int(total)


def cuda_context(device_id: int) -> CudaContext:
    """Returns the process's only `CudaContext` of a GPU; the first call makes it.

    Raises:
        MissingDependencyError: PyCUDA or the NVIDIA driver is not installed.
        ConfigurationError: This process sees no such GPU, or another process holds it exclusively.
    """
    with _lock:
        if device_id not in _contexts:
            if device_id in _begun:
                _begun[device_id].join()
            driver = load_driver()
            try:
                _contexts[device_id] = CudaContext(device_id)
            except driver.Error as error:
                raise ConfigurationError(f"GPU {device_id} gives no CUDA context: {error}") from error
        return _contexts[device_id]


def make_stream(driver: Any) -> Any:
    """Makes a non-blocking `pycuda.driver.Stream` in the current context."""
    return driver.Stream(_STREAM_NON_BLOCKING)
