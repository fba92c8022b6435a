"""libcuda: functions of the NVIDIA driver (cuda.h) that PyCUDA (2026.1) does not wrap, or not as needed here."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any


class LibcudaError(Exception):
    """A driver call failed; the message has the function and the driver's error name."""


def call(function: str, *arguments: Any) -> None:
    """Calls a function of the driver without holding the GIL; `cuInit` must come first.

    Args:
        function: Name with its version suffix, e.g. `cuStreamBeginCapture_v2`.
        *arguments: Passed on through `ctypes`.

    Raises:
        LibcudaError: The function did not return CUDA_SUCCESS.
    """
    driver = load_libcuda()
    status = getattr(driver, function)(*arguments)
    if status:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(status, ctypes.byref(name))
        raise LibcudaError(f"{function} failed: {(name.value or b'error').decode()} ({status})")


@lru_cache(maxsize=1)
def load_libcuda() -> Any:
    """Returns the driver's library; raises OSError where there is no driver."""
    return ctypes.CDLL("libcuda.so.1")
