"""Fake kernel of entropy.ptx: its source as C++, on the memory that the launch names."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.pictures.gpu.entropy_kernel import PTX, SCAN, THREADS
from tests.azaion_engine.cu_as_cpp import compile_as_cpp

if TYPE_CHECKING:
    from tests.azaion_engine.fakes.fake_cuda import FakeCuda, FakeStream

_GLUE = """
extern "C" int scan_size() { return sizeof(Scan); }
extern "C" int threads() { return THREADS; }
extern "C" void run(
    const Scan* scans, const unsigned char* bytes, int* blocks, unsigned least_piece, unsigned most_again,
    int pictures) {
    for (blockIdx.x = pictures - 1; blockIdx.x >= 0; --blockIdx.x)  // in any order
        entropy(scans, bytes, blocks, least_piece, most_again);
}
"""
_one_at_a_time = threading.Lock()


@lru_cache(maxsize=1)
def entropy_as_cpp() -> ctypes.CDLL:
    """Compiles the kernel for this process; skips the test without g++."""
    with tempfile.TemporaryDirectory() as folder:
        library = compile_as_cpp(PTX.with_suffix(".cu"), _GLUE, Path(folder))
    assert (library.scan_size(), library.threads()) == (SCAN.itemsize, THREADS)
    return library


def run_as_cpp(scans: int, data: int, blocks: int, least_piece: int, most_again: int, pictures: int) -> None:
    """Runs the kernel.

    Args:
        scans: Address of an array of `SCAN`s.
        data: Address of the bytes that they name.
        blocks: Address of int32 `[pictures]`, which gets the blocks found.
        least_piece: As the kernel's.
        most_again: As the kernel's.
        pictures: Number of scans.
    """
    with _one_at_a_time:  # what threads share is static in C++
        entropy_as_cpp().run(
            *map(ctypes.c_void_p, (scans, data, blocks)),
            ctypes.c_uint(least_piece),
            ctypes.c_uint(most_again),
            pictures,
        )


class FakeEntropy:
    """The kernel; without a compiler it finds every scan whole."""

    def __init__(self, cuda: FakeCuda, ptx: bytes, name: str) -> None:
        assert f".entry {name}(".encode() in ptx
        self.cuda = cuda

    def __call__(
        self,
        scans: np.uint64,
        data: np.uint64,
        blocks: np.uint64,
        least_piece: np.uint32,
        most_again: np.uint32,
        *,
        block: tuple[int, int, int],
        grid: tuple[int, int, int],
        stream: FakeStream,
    ) -> None:
        self.cuda.check()
        assert block == (THREADS, 1, 1)
        count = grid[0]
        assert grid == (count, 1, 1)
        assert least_piece.dtype == most_again.dtype == np.uint32
        stream.put(lambda: self._run(int(scans), int(data), int(blocks), int(least_piece), int(most_again), count))

    def _run(self, scans: int, data: int, blocks: int, least_piece: int, most_again: int, count: int) -> None:
        table = self._view(scans, count, SCAN)
        for scan in table:
            self.cuda.memory(data + int(scan["offset"]), int(scan["length"]))
        if shutil.which("g++"):
            self.cuda.memory(blocks, 4 * count)
            run_as_cpp(scans, data, blocks, least_piece, most_again, count)
        else:
            self._view(blocks, count, np.dtype(np.int32))[:] = table["needed"]

    def _view(self, address: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        size = count * dtype.itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(self.cuda.memory(address, size)), dtype)
