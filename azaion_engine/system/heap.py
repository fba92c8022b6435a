"""trim_heap: gives memory that was freed back to the operating system."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any


def trim_heap() -> None:
    """Gives the heap's free pages back; takes milliseconds and holds no lock of the interpreter.

    glibc keeps a heap for each thread, with freed blocks of up to 32 MiB (malloc(3), mallopt(3), M_MMAP_THRESHOLD):
    eight threads that decode large pictures in turn kept three times what they needed at once. Where the C library has
    no `malloc_trim`, nothing happens.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
