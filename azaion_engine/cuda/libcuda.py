"""libcuda: the few functions of the NVIDIA driver that PyCUDA (2026.1) does not wrap, as cuda.h declares them."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any


class LibcudaError(Exception):
    """The driver refused; carries the function and the name of its error."""


def call(function: str, *arguments: Any) -> None:
    """Calls a function of the driver, which `cuInit` must have initialised, without the GIL.

    Args:
        function: Its name, with the suffix of its version.
        *arguments: What `ctypes` passes on.

    Raises:
        LibcudaError: It answered anything but CUDA_SUCCESS.
    """
    driver = load_libcuda()
    status = getattr(driver, function)(*arguments)
    if status:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(status, ctypes.byref(name))
        raise LibcudaError(f"{function} failed: {(name.value or b'error').decode()} ({status})")


@lru_cache(maxsize=1)
def load_libcuda() -> Any:
    """Returns the driver's own library; OSError where there is no driver."""
    return ctypes.CDLL("libcuda.so.1")
