"""Window: memory through which a client shows its host large buffers, for one connection.

Through a socket the kernel copies each byte twice, and the host's only receiving thread waits for each piece. A window
is written once, and the host reads it where it is (benchmarks/results/cpu_2_cores_shared_engine.json).
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Sequence

_LEAST_BYTES = 2**20
"""Size of the first window of a connection: a batch of small pictures."""

_MOST_BYTES = 16 * 2**20
"""Largest window, which its connection keeps; a larger message goes through the socket."""

_MOST_VIEWS = 1024
"""Buffers that the kernel takes in one call (IOV_MAX)."""

_DESCRIPTOR = struct.Struct("i")
"""A file descriptor, as `sendmsg` takes it."""


class Window:
    """A client's end: writes the buffers of a message; only one message is in it at a time."""

    def __init__(self) -> None:
        """Takes no memory yet."""
        self._file: int | None = None
        self._size = 0
        self._shown = False

    def take(self, buffers: Sequence[memoryview]) -> bool:
        """Writes buffers one after the other; returns False if they have to go another way."""
        total = sum(buffer.nbytes for buffer in buffers)
        if not total or total > _MOST_BYTES or not hasattr(os, "memfd_create"):
            return False
        try:
            file, at = self._grown(total), 0
            for begin in range(0, len(buffers), _MOST_VIEWS):
                at += os.pwritev(file, buffers[begin : begin + _MOST_VIEWS], at)
        except OSError:  # no memory, or no descriptor
            self.close()
            return False
        return at == total

    def to_show(self) -> list[tuple[int, int, bytes]]:
        """Returns what `sendmsg` tells the host of a window that it has not seen, beside the next bytes."""
        if self._file is None or self._shown:
            return []
        self._shown = True
        return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(self._file))]

    def close(self) -> None:
        """Gives the memory up, once the host has, too."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._shown = None, 0, False

    def _grown(self, total: int) -> int:
        """Returns the file, which has room for so many bytes."""
        if self._file is None or total > self._size:
            self.close()
            size = max(_LEAST_BYTES, 1 << (total - 1).bit_length())
            self._file = os.memfd_create("azaion-pictures")
            os.truncate(self._file, size)
            self._size = size
        return self._file


def room() -> int:
    """Returns the bytes that `recvmsg` needs to tell of a window."""
    return socket.CMSG_SPACE(_DESCRIPTOR.size)


def seen(told: Sequence[tuple[int, int, bytes]]) -> memoryview | None:
    """Returns the memory of the window that `recvmsg` told of; None if it told of none.

    Raises:
        OSError: It cannot be mapped.
    """
    for level, kind, data in told:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            [file] = _DESCRIPTOR.unpack_from(data)
            try:
                return memoryview(mmap.mmap(file, 0))
            finally:
                os.close(file)
    return None
