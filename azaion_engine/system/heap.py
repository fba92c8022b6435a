"""Heap: whether memory that was freed goes back to the operating system: `trim_heap`, `keep_heap`."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt(3)."""
_KEPT = 64 << 20
"""Twice glibc's maximum of M_MMAP_THRESHOLD, as its own rule has it."""


def trim_heap() -> None:
    """Gives the heap's free pages back; takes milliseconds and holds no lock of the interpreter.

    glibc keeps a heap for each thread, with freed blocks of up to 32 MiB (malloc(3), mallopt(3), M_MMAP_THRESHOLD):
    eight threads that decode large pictures in turn kept three times what they needed at once. Where the C library has
    no `malloc_trim`, nothing happens.
    """
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


def keep_heap() -> None:
    """Keeps up to `_KEPT` freed bytes in each of glibc's heaps, for the whole process and from now on.

    By default a heap gives its end back as soon as some hundred kilobytes of it are free, and the kernel clears each
    page anew for the next picture. glibc itself raises the limit as far once a block of half as much was freed.
    """
    tune = _c_function("mallopt")
    if tune is not None:
        tune(_M_MMAP_THRESHOLD, _KEPT // 2)
        tune(_M_TRIM_THRESHOLD, _KEPT)


@lru_cache
def _c_function(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
