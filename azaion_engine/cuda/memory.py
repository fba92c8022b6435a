"""Memory for a GPU: DeviceMemory on it, DeviceBuffer with a pinned twin on the host, pinned_empty on the host alone."""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.context import CudaContext
from azaion_engine.cuda.libcuda import LibcudaError, call
from azaion_engine.errors import ConfigurationError

_PORTABLE = 1
"""CU_MEMHOSTALLOC_PORTABLE (cuda.h): pinned for every context of the process."""

_MEMORY_TYPE, _HOST = 2, 1
"""CU_POINTER_ATTRIBUTE_MEMORY_TYPE and CU_MEMORYTYPE_HOST (cuda.h)."""


class DeviceMemory:
    """A tensor on the GPU; every method must be called while the CUDA context is active that was so at construction.

    Attributes:
        shape: Rows first.
        dtype: Element type.
        address: Fixed for the life of the memory.
    """

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocates it.

        Args:
            driver: The module `pycuda.driver`.
            shape: Full shape, rows first.
            dtype: Element type.

        Raises:
            pycuda.driver.MemoryError: The GPU has not enough memory.
        """
        self._driver = driver
        self.shape, self.dtype = shape, dtype
        # An empty tensor is legal in a network, an empty allocation is not in CUDA.
        self._device: Any = driver.mem_alloc(max(self.bytes, 1))
        self.address = int(self._device)

    @property
    def bytes(self) -> int:
        """Size."""
        return math.prod(self.shape) * self.dtype.itemsize

    def clear(self, stream: Any) -> None:
        """Starts setting every byte to zero."""
        self._driver.memset_d8_async(self.address, 0, self.bytes, stream)

    def free(self) -> None:
        """Gives it back at once; a second call does nothing."""
        device, self._device = self._device, None
        if device is not None:
            device.free()


class DeviceBuffer(DeviceMemory):
    """A tensor on the GPU and pinned memory for it on the host, copied row by row as needed.

    Attributes:
        host: Pinned array `[batch, …]`; valid until `free`. Never hand out views of it.
    """

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocates both sides; as `DeviceMemory`, also where the host has not enough memory."""
        super().__init__(driver, shape, dtype)
        try:
            self.host: NDArray[Any] = driver.pagelocked_empty(shape, dtype)
        except BaseException:
            super().free()
            raise
        self.host.fill(0)

    def upload(self, part: NDArray[Any], stream: Any) -> None:
        """Starts copying to the GPU; the host side must stay untouched until the stream is done.

        Args:
            part: A contiguous view of `host`.
            stream: The `pycuda.driver.Stream` to do it on.
        """
        offset = address_of(part) - address_of(self.host)
        self._driver.memcpy_htod_async(self.address + offset, part, stream)

    def download(self, rows: int, stream: Any) -> None:
        """Starts copying the first rows from the GPU; they are there when the stream is done."""
        self._driver.memcpy_dtoh_async(self.host[:rows], self._device, stream)

    def free(self) -> None:
        """Gives both sides back at once, whoever still refers to the buffer; a second call does nothing."""
        # Replaced before it is freed: an array over freed memory must not be within anybody's reach.
        host, self.host = self.host, np.empty(0, self.host.dtype)
        if self._device is not None:
            super().free()
            pinned: Any = host.base  # PyCUDA's PagelockedHostAllocation
            pinned.free()


def address_of(array: NDArray[Any]) -> int:
    """Returns where an array's first element lies in the host's memory."""
    return int(array.__array_interface__["data"][0])


def pinned_empty(context: CudaContext, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Makes an array in pinned memory, which is given back when the last view of it is forgotten.

    Not PyCUDA's: that gives its memory back only while the context is current, and the caller's threads have none.

    Args:
        context: Need not be current.
        shape: Of the array.
        dtype: Element type.

    Raises:
        ConfigurationError: The host has not so much memory to pin.
    """
    size = max(1, math.prod(shape) * dtype.itemsize)
    pointer = ctypes.c_void_p()
    with context.active():
        try:
            call("cuMemHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(size), _PORTABLE)
        except LibcudaError as error:
            raise ConfigurationError(f"cannot pin {size} bytes of host memory: {error}") from error
    memory: Any = (ctypes.c_uint8 * size).from_address(pointer.value or 0)
    # The end of the process gives it back anyway, when nobody looks at the array any more.
    weakref.finalize(memory, _free, context, pointer).atexit = False
    return np.frombuffer(memory, dtype, math.prod(shape)).reshape(shape)


def is_pinned(array: NDArray[Any]) -> bool:
    """Tells whether the GPU can read an array by itself, whoever has pinned it; the CUDA context must be current."""
    kind = ctypes.c_uint()
    address = ctypes.c_uint64(address_of(array))
    try:
        call("cuPointerGetAttribute", ctypes.byref(kind), _MEMORY_TYPE, address)
    except LibcudaError:  # memory that CUDA knows nothing of
        return False
    return kind.value == _HOST


def _free(context: CudaContext, pointer: ctypes.c_void_p) -> None:
    with context.active():
        call("cuMemFreeHost", pointer)
