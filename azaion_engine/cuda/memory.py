"""DeviceMemory: a tensor's memory on the GPU. DeviceBuffer: the same with pinned memory on the host."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
