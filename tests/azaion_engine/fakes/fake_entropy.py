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

from azaion_engine.pictures.gpu.entropy_kernel import GUESS_THREADS, PIECE_BYTES, PTX, SCAN, THREADS
from tests.azaion_engine.cu_as_cpp import compile_as_cpp

if TYPE_CHECKING:
    from tests.azaion_engine.fakes.fake_cuda import FakeCuda, FakeStream

_GLUE = """
extern "C" int scan_size() { return sizeof(Scan); }
extern "C" int piece_size() { return sizeof(Noted); }
extern "C" int guess_threads() { return GUESS_THREADS; }
extern "C" int threads() { return THREADS; }
extern "C" void guess(const Scan* scans, const unsigned char* bytes, Noted* pieces, int blocks, int pictures) {
    for (blockIdx.y = pictures - 1; blockIdx.y >= 0; --blockIdx.y)  // in any order
        for (blockIdx.x = blocks - 1; blockIdx.x >= 0; --blockIdx.x) entropy_guess(scans, bytes, pieces);
}
extern "C" void settle(
    const Scan* scans, const unsigned char* bytes, Noted* pieces, int* blocks, unsigned most_again, int pictures) {
    for (blockIdx.x = pictures - 1; blockIdx.x >= 0; --blockIdx.x)
        entropy_settle(scans, bytes, pieces, blocks, most_again);
}
"""
_one_at_a_time = threading.Lock()


@lru_cache(maxsize=1)
def entropy_as_cpp() -> ctypes.CDLL:
    """Compiles the kernels for this process; skips the test without g++."""
    with tempfile.TemporaryDirectory() as folder:
        library = compile_as_cpp(PTX.with_suffix(".cu"), _GLUE, Path(folder))
    assert (library.scan_size(), library.piece_size()) == (SCAN.itemsize, PIECE_BYTES)
    assert (library.guess_threads(), library.threads()) == (GUESS_THREADS, THREADS)
    return library


def guess_as_cpp(scans: int, data: int, pieces: int, guess_blocks: int, pictures: int) -> None:
    """Runs entropy_guess.

    Args:
        scans: Address of an array of `SCAN`s.
        data: Address of the bytes that they name.
        pieces: Address of `PIECE_BYTES` for each of their pieces.
        guess_blocks: Blocks of each scan.
        pictures: Number of scans.
    """
    with _one_at_a_time:  # what threads share is static in C++
        entropy_as_cpp().guess(*map(ctypes.c_void_p, (scans, data, pieces)), guess_blocks, pictures)


def settle_as_cpp(scans: int, data: int, pieces: int, blocks: int, most_again: int, pictures: int) -> None:
    """Runs entropy_settle.

    Args:
        scans: As of `guess_as_cpp`, as are `data`, `pieces` and `pictures`.
        blocks: Address of int32 `[pictures]`, which gets the blocks found.
        most_again: As the kernel's.
    """
    with _one_at_a_time:
        addresses = map(ctypes.c_void_p, (scans, data, pieces, blocks))
        entropy_as_cpp().settle(*addresses, ctypes.c_uint(most_again), pictures)


class FakeEntropy:
    """One of the kernels; without a compiler they find every scan whole."""

    def __init__(self, cuda: FakeCuda, ptx: bytes, name: str) -> None:
        assert f".entry {name}(".encode() in ptx
        self.cuda = cuda
        self.guesses = name == "entropy_guess"

    def __call__(
        self,
        scans: np.uint64,
        data: np.uint64,
        pieces: np.uint64,
        blocks: np.uint64 | None = None,
        most_again: np.uint32 | None = None,
        *,
        block: tuple[int, int, int],
        grid: tuple[int, int, int],
        stream: FakeStream,
    ) -> None:
        self.cuda.check()
        if self.guesses:
            assert block == (GUESS_THREADS, 1, 1)
            assert blocks is most_again is None
            stream.put(lambda: self._guess(int(scans), int(data), int(pieces), *grid[:2]))
            return
        assert block == (THREADS, 1, 1)
        assert grid[1:] == (1, 1)
        assert blocks is not None
        assert most_again is not None
        assert most_again.dtype == np.uint32
        stream.put(lambda: self._settle(int(scans), int(data), int(pieces), int(blocks), int(most_again), grid[0]))

    def _guess(self, scans: int, data: int, pieces: int, guess_blocks: int, count: int) -> None:
        table = self._checked(scans, data, pieces, count)
        assert guess_blocks * GUESS_THREADS >= table["pieces"].max()
        if shutil.which("g++"):
            guess_as_cpp(scans, data, pieces, guess_blocks, count)

    def _settle(self, scans: int, data: int, pieces: int, blocks: int, most_again: int, count: int) -> None:
        table = self._checked(scans, data, pieces, count)
        if shutil.which("g++"):
            self.cuda.memory(blocks, 4 * count)
            settle_as_cpp(scans, data, pieces, blocks, most_again, count)
        else:
            self._view(blocks, count, np.dtype(np.int32))[:] = table["needed"]

    def _checked(self, scans: int, data: int, pieces: int, count: int) -> NDArray[Any]:
        """Returns the table of scans, all of whose memory is there."""
        table = self._view(scans, count, SCAN)
        for scan in table:
            self.cuda.memory(data + int(scan["offset"]), int(scan["length"]))
            self.cuda.memory(pieces + PIECE_BYTES * int(scan["first_piece"]), PIECE_BYTES * int(scan["pieces"]))
        return table

    def _view(self, address: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        size = count * dtype.itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(self.cuda.memory(address, size)), dtype)
