"""Staging: the pinned memory that arrays pass through on their way to the GPU, a piece at a time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE_BYTES = 8 * 2**20
_PIECES = 12
"""Measured beside an H100: a dozen large pieces are as quick as pinned memory for a whole batch, smaller ones not."""

_SMALL_BYTES = 256 * 1024
"""Smaller pieces are copied quicker by one thread than handed to several."""

Index = tuple[Any, ...]


class Staging:
    """A ring of pinned pieces for one stream; used by one thread at a time, with the CUDA context current."""

    def __init__(self, driver: Any, stream: Any, copiers: Executor, most_bytes: int) -> None:
        """Allocates the pieces.

        Args:
            driver: The module `pycuda.driver`.
            stream: The `pycuda.driver.Stream` that the copies to the GPU are done on.
            copiers: Threads that fill pieces.
            most_bytes: Largest array there will be as a rule; small ones need no large pieces.

        Raises:
            pycuda.driver.MemoryError: The host has not enough memory.
        """
        self._driver, self._stream, self._copiers = driver, stream, copiers
        piece = max(1, min(_PIECE_BYTES, most_bytes))
        self._pieces: NDArray[np.uint8] = driver.pagelocked_empty((_PIECES, piece), np.dtype(np.uint8))
        flags = driver.event_flags.DISABLE_TIMING | driver.event_flags.BLOCKING_SYNC
        self._sent = [driver.Event(flags) for _ in range(_PIECES)]
        self._next = 0

    def upload(self, array: NDArray[Any], address: int, dtype: np.dtype[Any]) -> None:
        """Starts copying to the GPU, each piece as soon as it is filled; the array may change once this returns.

        Args:
            array: Of any shape and strides.
            address: Where it goes on the GPU.
            dtype: Element type there; the array is cast to it.
        """
        ahead: deque[tuple[int, Future[NDArray[Any]] | NDArray[Any], int]] = deque()
        for index, offset in _parts(array.shape, dtype.itemsize, self._pieces.shape[1]):
            if len(ahead) > _PIECES // 2:
                self._send(*ahead.popleft())
            ahead.append((self._next, self._fill(self._next, array[index], dtype), address + offset))
            self._next = (self._next + 1) % _PIECES
        while ahead:
            self._send(*ahead.popleft())

    def free(self) -> None:
        """Gives the memory back at once; a second call does nothing. No upload follows."""
        pieces, self._pieces = self._pieces, np.empty((_PIECES, 0), np.uint8)
        if pieces.size:
            owner: Any = pieces.base  # PyCUDA's PagelockedHostAllocation
            owner.free()
        # PyCUDA destroys streams and events only while the context is current.
        self._sent.clear()
        self._stream = None

    def _fill(self, number: int, part: NDArray[Any], dtype: np.dtype[Any]) -> Future[NDArray[Any]] | NDArray[Any]:
        self._sent[number].synchronize()  # what was in it has left
        size = part.size * dtype.itemsize
        piece = self._pieces[number, :size].view(dtype).reshape(part.shape)
        if size >= _SMALL_BYTES:
            try:
                return self._copiers.submit(_copy, piece, part)
            except RuntimeError:  # the interpreter is on its way out and takes no more work for other threads
                pass
        return _copy(piece, part)

    def _send(self, number: int, filled: Future[NDArray[Any]] | NDArray[Any], address: int) -> None:
        piece = filled.result() if isinstance(filled, Future) else filled
        self._driver.memcpy_htod_async(address, piece, self._stream)
        self._sent[number].record(self._stream)


def _copy(piece: NDArray[Any], part: NDArray[Any]) -> NDArray[Any]:
    piece[...] = part  # casts, and gathers what is not contiguous
    return piece


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
