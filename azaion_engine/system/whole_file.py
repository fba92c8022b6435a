"""read_whole: reads a file in as few calls as possible: after each, a thread waits for the GIL anew."""

from __future__ import annotations

import os
from collections.abc import Callable

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def read_whole(path: str | os.PathLike[str], check: Callable[[int], None] = lambda size: None) -> bytes:
    """Returns the content of a file.

    Args:
        path: Where it is.
        check: Called with its size in bytes before it is read; may raise.

    Raises:
        OSError: It cannot be read.
        ValueError: The path has a NUL.
    """
    number = os.open(path, _FLAGS)
    try:
        size = os.fstat(number).st_size
        check(size)
        data = os.read(number, size + 1)
        while len(data) != size and (more := os.read(number, 1 << 20)):  # it has grown, or comes piecemeal
            data += more
        return data
    finally:
        os.close(number)
