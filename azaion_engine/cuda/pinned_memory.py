"""pinned_empty: host memory that a GPU reads by itself, without the copy that arrays in other memory need first."""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.context import CudaContext
from azaion_engine.cuda.libcuda import LibcudaError, call
from azaion_engine.cuda.memory import address_of
from azaion_engine.errors import ConfigurationError

_PORTABLE = 1
"""CU_MEMHOSTALLOC_PORTABLE (cuda.h): pinned for every context of the process."""

_MEMORY_TYPE, _HOST = 2, 1
"""CU_POINTER_ATTRIBUTE_MEMORY_TYPE and CU_MEMORYTYPE_HOST (cuda.h)."""


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
