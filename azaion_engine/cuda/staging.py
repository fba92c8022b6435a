"""Staging: pinned memory through which arrays are copied to the GPU, one piece at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.context import CudaContext

_PIECE_BYTES = 8 * 2**20
_PIECES = 16
"""Found by measurement: smaller pieces are slower, larger or more ones are no faster."""

_SMALL_BYTES = 256 * 1024
"""Minimum size, in bytes, of an array that several threads copy; below it, one thread is faster."""

Index = tuple[Any, ...]
Parts = Iterator[tuple[NDArray[Any], int]]
"""Parts of an array, each with its destination address on the GPU."""


class Staging:
    """Pinned memory in pieces, for one stream; used by one thread at a time, with the CUDA context current."""

    def __init__(self, context: CudaContext, stream: Any, copiers: Executor, most_bytes: int) -> None:
        """Allocates the pieces.

        Args:
            context: The CUDA context, current.
            stream: The `pycuda.driver.Stream` of the copies to the GPU.
            copiers: Threads that fill and send pieces, in addition to the calling thread.
            most_bytes: Usual maximum size of an array, in bytes; pieces are no larger.

        Raises:
            pycuda.driver.MemoryError: Not enough host memory.
        """
        driver = context.driver
        self._context, self._stream, self._copiers = context, stream, copiers
        piece = max(1, min(_PIECE_BYTES, most_bytes))
        self._pieces: NDArray[np.uint8] = driver.pagelocked_empty((_PIECES, piece), np.dtype(np.uint8))
        flags = driver.event_flags.DISABLE_TIMING | driver.event_flags.BLOCKING_SYNC
        self._sent = [driver.Event(flags) for _ in range(_PIECES)]
        self._free: SimpleQueue[int] = SimpleQueue()
        for number in range(_PIECES):
            self._free.put(number)

    def upload(self, array: NDArray[Any], address: int, dtype: np.dtype[Any]) -> None:
        """Starts copying to the GPU, each piece as soon as it is filled; the array may change after the return.

        Args:
            array: Any shape and strides.
            address: Destination on the GPU.
            dtype: Element type on the GPU; the array is cast to it.

        Raises:
            pycuda.driver.Error: A copy could not be started.
        """
        cut = _parts(array.shape, dtype.itemsize, self._pieces.shape[1])
        parts = [(array[index], address + offset) for index, offset in cut]
        left = iter(parts)  # of a list, not a generator: several threads may call next() at once
        sending: list[Future[None]] = []
        if array.size * dtype.itemsize >= _SMALL_BYTES:
            with suppress(RuntimeError):  # the interpreter is shutting down: executors accept no more work
                for _ in range(min(len(parts), _PIECES) - 1):
                    sending.append(self._copiers.submit(self._send_in_thread, left, dtype))
        try:
            self._send(left, dtype)
        finally:
            wait(sending)  # after an error too: no thread may still read the array
        for sent in sending:
            sent.result()

    def free(self) -> None:
        """Frees the memory at once; a second call does nothing. No upload may follow."""
        pieces, self._pieces = self._pieces, np.empty((_PIECES, 0), np.uint8)
        if pieces.size:
            owner: Any = pieces.base  # PyCUDA's PagelockedHostAllocation
            owner.free()
        # PyCUDA destroys streams and events only while the context is current.
        self._sent.clear()
        self._stream = None

    def _send_in_thread(self, parts: Parts, dtype: np.dtype[Any]) -> None:
        with self._context.active():
            self._send(parts, dtype)

    def _send(self, parts: Parts, dtype: np.dtype[Any]) -> None:
        """Fills and sends one part after the other until none is left; other threads take parts too."""
        for part, address in parts:
            number = self._free.get()  # cannot deadlock: holders of pieces never wait here
            try:
                self._sent[number].synchronize()  # wait until the previous content is on the GPU
                piece = self._pieces[number, : part.size * dtype.itemsize].view(dtype).reshape(part.shape)
                piece[...] = part  # casts, and makes the part contiguous
                self._context.driver.memcpy_htod_async(address, piece, self._stream)
                self._sent[number].record(self._stream)
            finally:
                self._free.put(number)


def _parts(shape: tuple[int, ...], item_bytes: int, most_bytes: int) -> Iterator[tuple[Index, int]]:
    """Cuts an array into parts that are contiguous on the GPU: yields (index, offset in bytes) of each."""
    each = math.prod(shape[1:]) * item_bytes
    if each <= most_bytes:
        step = max(1, most_bytes // max(each, 1))
        for first in range(0, shape[0], step):
            yield (slice(first, first + step),), first * each
    else:
        for first in range(shape[0]):
            for index, offset in _parts(shape[1:], item_bytes, most_bytes):
                yield (first, *index), first * each + offset
