"""EntropyKernel: counts the blocks of JPEGs' scans on the GPU, which tells whether the scans are whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import accumulate
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.context import make_stream
from azaion_engine.cuda.memory import DeviceBuffer, DeviceMemory
from azaion_engine.pictures.readers.jpeg.header import JpegHeader, read_jpeg_header
from azaion_engine.pictures.readers.jpeg.huffman import HuffmanScan, HuffmanTable, read_huffman_scan

PTX = Path(__file__).with_name("entropy.ptx")

SCAN = np.dtype(
    [
        ("offset", np.uint64),
        ("length", np.uint32),
        ("needed", np.uint32),
        ("interval", np.uint32),
        ("unit", np.uint32),
        ("tables", np.uint32),
        ("flat", np.uint32),
        ("pieces", np.uint32),
        ("first_piece", np.uint32),
        ("counts", np.uint8, (4, 16)),
        ("values", np.uint8, (4, 256)),
    ]
)
"""`struct Scan` of entropy.cu."""

PIECE_BYTES = 44
"""Size of `struct Noted` of entropy.cu."""

GUESS_THREADS, THREADS = 64, 512
"""Threads of a block: GUESS_THREADS and THREADS of entropy.cu."""

LEAST_PIECE = 256
"""Bytes of a scan that a thread decodes at least: with less, most of its work is to synchronise."""

MOST_PIECES = 2**14
"""Maximum number of pieces of a scan: a scan of 13 MB, 8000×6000 pixels, has such of 800 bytes."""

MOST_AGAIN = 64 * 1024
"""Bytes of a scan that threads decode again, one after the other, before they leave it to the CPU; encoders' scans take
some hundred to some thousand."""

_ALIGNMENT = 16
"""Each scan begins at a multiple of this many bytes; the kernel reads words of 4."""

_MOST_BYTES = 2**28
"""Scans are shorter: the kernel counts their bits in 32 bits."""


_PINNED_BYTES = 64 * 2**20
"""Scans of a batch that are copied to the GPU together at most, through memory that is kept: four scenes' of 13 MB."""

_LONG_BYTES = 2**20
"""Scans that are copied without the GIL: getting it back costs less than others would wait for it."""

_USUAL_BYTES = 256 * 1024
"""Memory for a picture's scan that is allocated at once."""


class CheckedJpeg(NamedTuple):
    """A JPEG whose scan can be checked.

    Attributes:
        jpeg: The file.
        start: Offset of the scan's compressed data.
        record: From `pack`.
    """

    jpeg: bytes | memoryview
    start: int
    record: bytes


def checked_jpeg(jpeg: bytes | memoryview) -> CheckedJpeg | None:
    """Reads the header of a JPEG; None if its scan cannot be checked.

    Args:
        jpeg: The file, contiguous bytes.
    """
    header = read_jpeg_header(jpeg)
    record = None if header is None else _record_of(header)
    if header is None or record is None or not 0 < len(jpeg) - header.scan < _MOST_BYTES:
        return None
    return CheckedJpeg(jpeg, header.scan, record)


@lru_cache(maxsize=256)  # encoders and cameras send few headers
def _record_of(header: JpegHeader) -> bytes | None:
    scan = read_huffman_scan(header)
    return None if scan is None else pack(scan)


def pack(scan: HuffmanScan) -> bytes:
    """Packs the `SCAN` of a JPEG; what depends on its data is 0: `lay_out` adds it."""
    record = np.zeros(1, SCAN)
    record["needed"] = scan.blocks
    record["interval"] = min(scan.interval or scan.blocks, scan.blocks)
    # Threads that guess which block they begin with are right sooner among fewer.
    count = len(scan.pattern)
    unit = next(n for n in range(1, count + 1) if scan.pattern[:n] * (count // n) == scan.pattern)
    record["unit"] = unit
    record["flat"] = _flat_bits(scan) // gcd(_flat_bits(scan), 8)
    record["tables"] = sum((dc | ac << 1) << 2 * i for i, (dc, ac) in enumerate(scan.pattern[:unit]))
    for first, tables in ((0, scan.dc), (2, scan.ac)):
        for number, table in enumerate(tables, first):
            record["counts"][0, number] = np.frombuffer(table.counts, np.uint8)
            record["values"][0, number, : len(table.values)] = np.frombuffer(table.values, np.uint8)
    return record.tobytes()


def lay_out(table: NDArray[Any], offsets: Sequence[int], lengths: Sequence[int], least_piece: int) -> int:
    """Adds to packed `SCAN`s where their data lie, and into how many pieces they are cut.

    Args:
        table: `SCAN`s, changed in place.
        offsets: Of the data of each, in bytes.
        lengths: Of the data of each, in bytes.
        least_piece: Bytes of a piece at least.

    Returns:
        The number of all pieces.
    """
    table["offset"], table["length"] = offsets, lengths
    table["pieces"] = np.clip(table["length"] // least_piece, 1, MOST_PIECES)
    ends = np.cumsum(table["pieces"])
    table["first_piece"] = ends - table["pieces"]
    return int(ends[-1])


def _flat_bits(scan: HuffmanScan) -> int:
    """Returns the bits of a unit that has the colour of the one before."""
    return sum(_length(scan.dc[dc]) + _length(scan.ac[ac]) for dc, ac in scan.pattern)


def _length(table: HuffmanTable) -> int:
    """Returns the length of the code for 0: no difference, or the end of a block; 1 if there is none."""
    last = list(accumulate(table.counts))
    return bisect_right(last, table.values.index(0)) + 1 if 0 in table.values else 1


class EntropyKernel:
    """Kernels of entropy.ptx with their memory, on a stream of their own: they run while the hardware decodes.

    Used by one thread at a time, in the context it was made in.
    """

    def __init__(self, driver: Any, batch_size: int) -> None:
        """Loads the kernel and allocates memory; the driver compiles it for its GPU.

        Args:
            driver: The module `pycuda.driver`.
            batch_size: Maximum number of JPEGs at a time.

        Raises:
            pycuda.driver.Error: Not enough memory, or the driver does not take the PTX.
        """
        self._driver = driver
        self._module = driver.module_from_buffer(PTX.read_bytes() + b"\0")
        self._guess = self._module.get_function("entropy_guess")
        self._settle = self._module.get_function("entropy_settle")
        self._needed = np.empty(0, np.int64)
        self._large: DeviceMemory | None = None
        self._stream = make_stream(driver)
        with ExitStack() as made:
            self._blocks = DeviceBuffer(driver, (batch_size,), np.dtype(np.int32))
            made.callback(self._blocks.free)
            usual = min(batch_size * (SCAN.itemsize + _USUAL_BYTES), _PINNED_BYTES)
            self._memory = DeviceBuffer(driver, (usual,), np.dtype(np.uint8))
            made.callback(self._memory.free)
            self._pieces = DeviceMemory(driver, (usual // LEAST_PIECE, PIECE_BYTES), np.dtype(np.uint8))
            made.pop_all()

    def start(self, jpegs: Sequence[CheckedJpeg]) -> None:
        """Starts to count the blocks of a batch; `whole` waits for it.

        Args:
            jpegs: At least one, which must live until `whole` returns.

        Raises:
            pycuda.driver.MemoryError: The GPU has no room for the scans.
        """
        self._finish()  # a batch that failed
        count = len(jpegs)
        lengths = [len(one.jpeg) - one.start for one in jpegs]
        *offsets, end = accumulate(
            (-(-length // _ALIGNMENT) * _ALIGNMENT for length in lengths), initial=count * SCAN.itemsize
        )
        memory = self._reserve(end)
        host = self._memory.host.data
        host[: offsets[0]] = b"".join([one.record for one in jpegs])
        table = self._memory.host[: offsets[0]].view(SCAN)
        self._reserve_pieces(lay_out(table, offsets, lengths, LEAST_PIECE))
        self._needed = table["needed"].astype(np.int64)
        if memory is self._memory:
            for one, offset, length in zip(jpegs, offsets, lengths, strict=True):
                if length < _LONG_BYTES:
                    host[offset : offset + length] = memoryview(one.jpeg)[one.start :]
                else:
                    self._memory.host[offset : offset + length] = np.frombuffer(one.jpeg, np.uint8)[one.start :]
            self._memory.upload(self._memory.host[:end], self._stream)
        else:
            self._driver.memcpy_htod_async(memory.address, self._memory.host[: offsets[0]], self._stream)
            for one, offset in zip(jpegs, offsets, strict=True):
                scan = np.frombuffer(one.jpeg, np.uint8)[one.start :]
                self._driver.memcpy_htod_async(memory.address + offset, scan, self._stream)
        self._launch(memory.address, table)
        self._blocks.download(count, self._stream)

    def whole(self) -> NDArray[np.bool_]:
        """Waits for the batch of `start`.

        Returns:
            For each JPEG, whether its scan surely has all blocks of its picture.
        """
        needed = self._needed
        self._finish()
        whole: NDArray[np.bool_] = self._blocks.host[: len(needed)] >= needed
        return whole

    def free(self) -> None:
        """Frees all memory; a second call does nothing."""
        if self._stream is not None:
            self._finish()
            self._stream = None  # while the context is active: PyCUDA would leak it
        self._pieces.free()
        self._memory.free()
        self._blocks.free()

    def _launch(self, memory: int, table: NDArray[Any]) -> None:
        """Starts the kernels on memory that begins with a table of `SCAN`s."""
        count = len(table)
        guess_blocks = -(-int(table["pieces"].max()) // GUESS_THREADS)
        scans = np.uint64(memory), np.uint64(memory), np.uint64(self._pieces.address)
        self._guess(*scans, block=(GUESS_THREADS, 1, 1), grid=(guess_blocks, count, 1), stream=self._stream)
        self._settle(
            *scans,
            np.uint64(self._blocks.address),
            np.uint32(MOST_AGAIN),
            block=(THREADS, 1, 1),
            grid=(count, 1, 1),
            stream=self._stream,
        )

    def _finish(self) -> None:
        """Waits for the stream, which then reads none of the memory."""
        if len(self._needed):
            self._stream.synchronize()
            self._needed = self._needed[:0]
        large, self._large = self._large, None
        if large is not None:
            large.free()

    def _reserve(self, size: int) -> DeviceMemory:
        """Returns memory of at least so many bytes: the kept one, or one for this batch."""
        if size > _PINNED_BYTES:
            self._large = DeviceMemory(self._driver, (size,), np.dtype(np.uint8))
            return self._large
        if size > self._memory.bytes:
            larger = DeviceBuffer(self._driver, (1 << (size - 1).bit_length(),), np.dtype(np.uint8))
            self._memory.free()
            self._memory = larger
        return self._memory

    def _reserve_pieces(self, count: int) -> None:
        """Makes room for at least so many pieces."""
        if count > self._pieces.shape[0]:
            larger = DeviceMemory(self._driver, (count, PIECE_BYTES), np.dtype(np.uint8))
            self._pieces.free()
            self._pieces = larger
