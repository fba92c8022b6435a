"""Memory for a GPU: DeviceMemory on the GPU, DeviceBuffer on GPU and host, pinned_empty on the host."""

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
    """A tensor on the GPU; the CUDA context of its construction must be active during every method call.

    Attributes:
        shape: Full shape, rows first.
        dtype: Element type.
        address: Address on the GPU; constant.
    """

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocates the memory.

        Args:
            driver: The module `pycuda.driver`.
            shape: Full shape, rows first.
            dtype: Element type.

        Raises:
            pycuda.driver.MemoryError: Not enough memory on the GPU.
        """
        self._driver = driver
        self.shape, self.dtype = shape, dtype
        # A network may have an empty tensor, but CUDA allows no empty allocation.
        self._device: Any = driver.mem_alloc(max(self.bytes, 1))
        self.address = int(self._device)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def clear(self, stream: Any) -> None:
        """Starts setting every byte to zero, on a stream."""
        self._driver.memset_d8_async(self.address, 0, self.bytes, stream)

    def free(self) -> None:
        """Frees the memory at once; a second call does nothing."""
        device, self._device = self._device, None
        if device is not None:
            device.free()


class DeviceBuffer(DeviceMemory):
    """A tensor on the GPU with pinned host memory of the same shape; copies only the rows needed.

    Attributes:
        host: Pinned array `[batch, …]`; invalid after `free`, as are its views: give callers copies.
    """

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocates GPU and host memory; raises as `DeviceMemory`, also when host memory runs out."""
        super().__init__(driver, shape, dtype)
        try:
            self.host: NDArray[Any] = driver.pagelocked_empty(shape, dtype)
        except BaseException:
            super().free()
            raise
        self.host.fill(0)

    def upload(self, part: NDArray[Any], stream: Any) -> None:
        """Starts copying to the GPU; `part` must not change until the stream is done.

        Args:
            part: A contiguous view of `host`.
            stream: The `pycuda.driver.Stream` of the copy.
        """
        offset = address_of(part) - address_of(self.host)
        self._driver.memcpy_htod_async(self.address + offset, part, stream)

    def download(self, rows: int, stream: Any) -> None:
        """Starts copying the first rows from the GPU; `host` has them when the stream is done."""
        self._driver.memcpy_dtoh_async(self.host[:rows], self._device, stream)

    def free(self) -> None:
        """Frees GPU and host memory at once, even if the buffer is still referenced; a second call does nothing."""
        # Replace the array before freeing it, so that `host` never refers to freed memory.
        host, self.host = self.host, np.empty(0, self.host.dtype)
        if self._device is not None:
            super().free()
            pinned: Any = host.base  # PyCUDA's PagelockedHostAllocation
            pinned.free()


def address_of(array: NDArray[Any]) -> int:
    """Returns the address of an array's first element in host memory."""
    return int(array.__array_interface__["data"][0])


def pinned_empty(context: CudaContext, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Makes an array in pinned memory, which is freed with the last reference to the array or a view.

    Not with PyCUDA: it frees memory only while the context is current, and the caller's threads have no context.

    Args:
        context: The CUDA context; need not be current.
        shape: Shape of the array.
        dtype: Element type.

    Raises:
        ConfigurationError: Not enough host memory that can be pinned.
    """
    size = max(1, math.prod(shape) * dtype.itemsize)
    pointer = ctypes.c_void_p()
    with context.active():
        try:
            call("cuMemHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(size), _PORTABLE)
        except LibcudaError as error:
            raise ConfigurationError(f"cannot pin {size} bytes of host memory: {error}") from error
    memory: Any = (ctypes.c_uint8 * size).from_address(pointer.value or 0)
    # Not at exit, when the array may still be in use: the end of the process frees the memory anyway.
    weakref.finalize(memory, _free, context, pointer).atexit = False
    return np.frombuffer(memory, dtype, math.prod(shape)).reshape(shape)


def is_pinned(array: NDArray[Any]) -> bool:
    """Says whether any library pinned an array, so that the GPU can read it; the CUDA context must be current."""
    kind = ctypes.c_uint()
    address = ctypes.c_uint64(address_of(array))
    try:
        call("cuPointerGetAttribute", ctypes.byref(kind), _MEMORY_TYPE, address)
    except LibcudaError:  # memory unknown to CUDA
        return False
    return kind.value == _HOST


def _free(context: CudaContext, pointer: ctypes.c_void_p) -> None:
    with context.active():
        call("cuMemFreeHost", pointer)
