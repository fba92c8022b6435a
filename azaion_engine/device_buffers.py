"""DeviceBuffer: a tensor's memory on both sides, pinned on the host and allocated on the GPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DeviceBuffer:
    """A pinned host array and device memory of the same size, copied row by row as needed.

    Every method must be called while the CUDA context is active that was so at construction.

    Attributes:
        host: Pinned array `[batch, …]`; valid until `free`. Never hand out views of it.
        address: Address of the device memory, fixed for the life of the buffer.
    """

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocates both sides.

        Args:
            driver: The module `pycuda.driver`.
            shape: Full shape, rows first.
            dtype: Element type.

        Raises:
            pycuda.driver.MemoryError: The GPU or the host has not enough memory.
        """
        self._driver = driver
        size = math.prod(shape) * dtype.itemsize
        # An empty tensor is legal in a network, an empty allocation is not in CUDA.
        self._device: Any = driver.mem_alloc(max(size, 1))
        try:
            self.host: NDArray[Any] = driver.pagelocked_empty(shape, dtype)
        except BaseException:
            self._device.free()
            raise
        self.host.fill(0)
        self.address = int(self._device)

    def upload(self, part: NDArray[Any], stream: Any) -> None:
        """Starts copying to the GPU; the host side must stay untouched until the stream is done.

        Args:
            part: A contiguous view of `host`.
            stream: The `pycuda.driver.Stream` to do it on.
        """
        offset = _address(part) - _address(self.host)
        self._driver.memcpy_htod_async(self.address + offset, part, stream)

    def download(self, rows: int, stream: Any) -> None:
        """Starts copying the first rows from the GPU; they are there when the stream is done."""
        self._driver.memcpy_dtoh_async(self.host[:rows], self._device, stream)

    def free(self) -> None:
        """Gives both sides back at once, whoever still refers to the buffer; a second call does nothing."""
        device, self._device = self._device, None
        # Replaced before it is freed: an array over freed memory must not be within anybody's reach.
        host, self.host = self.host, np.empty(0, self.host.dtype)
        if device is not None:
            device.free()
            pinned: Any = host.base  # PyCUDA's PagelockedHostAllocation
            pinned.free()


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
