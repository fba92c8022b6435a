"""Nvjpeg: a decoder of NVIDIA's JPEG library (nvjpeg.h), called through ctypes: one call for a whole batch."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.memory import address_of
from azaion_engine.errors import MissingDependencyError

_BACKENDS = (3, 2)
"""NVJPEG_BACKEND_HARDWARE, or NVJPEG_BACKEND_GPU_HYBRID: the multiprocessors of a GPU that has no JPEG hardware."""

_RGBI = 5
"""NVJPEG_OUTPUT_RGBI: 8 bits, RGB, interleaved, into the first channel."""

_INTERPOLATED = 32
"""NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION (nvJPEG 12.1): upsamples colours as libjpeg does, hence as on the CPU."""

_CPU_THREADS = 1
"""Threads of the hybrid backend; the hardware uses none."""

_CHANNELS = 4
"""NVJPEG_MAX_COMPONENT: an `nvjpegImage_t` is this many addresses and then as many pitches."""

_PACKAGED = ("cu13/lib/libnvjpeg.so.13", "nvjpeg/lib/libnvjpeg.so.12")
"""Where the packages nvidia-nvjpeg and nvidia-nvjpeg-cu12 put it, in the namespace package `nvidia`."""

_SYSTEM = ("libnvjpeg.so.13", "libnvjpeg.so.12")


class NvjpegError(Exception):
    """A call of nvJPEG failed; the message has the function and its status."""


class Nvjpeg:
    """One decoder and its state; used by one thread at a time, with the CUDA context of its construction active."""

    def __init__(self) -> None:
        """Opens the hardware decoder, else the multiprocessors'.

        Raises:
            MissingDependencyError: nvJPEG is not installed, or takes neither this driver nor this GPU.
        """
        self._handle, self._state = ctypes.c_void_p(), ctypes.c_void_p()
        self._library, self._look = self._create()
        self._call("nvjpegJpegStateCreate", self._handle, ctypes.byref(self._state))
        self._batch = 0
        self._components, self._subsampling = ctypes.c_int(), ctypes.c_int()
        self._widths, self._heights = (ctypes.c_int * _CHANNELS)(), (ctypes.c_int * _CHANNELS)()

    def size_of(self, address: int, length: int) -> tuple[int, int] | None:
        """Returns (width, height) in pixels as `decode` will write a JPEG; None if its header cannot be read.

        Args:
            address: Of its first byte, in host memory.
            length: In bytes.
        """
        failed = self._look.nvjpegGetImageInfo(
            self._handle,
            ctypes.c_void_p(address),
            ctypes.c_size_t(length),
            ctypes.byref(self._components),
            ctypes.byref(self._subsampling),
            self._widths,
            self._heights,
        )
        return None if failed else (self._widths[0], self._heights[0])

    def decode(
        self,
        jpegs: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        addresses: NDArray[np.uint64],
        pitches: NDArray[np.uint64],
        stream: int,
    ) -> None:
        """Starts decoding on a stream; the JPEGs must live until it is done.

        Args:
            jpegs: Address of each JPEG in host memory; at least one.
            lengths: Of the JPEGs, in bytes.
            addresses: Of each picture's memory on the GPU: `height × pitch` bytes of `size_of`.
            pitches: Bytes from one row to the next, at least 3 × width.
            stream: Handle of the CUDA stream.

        Raises:
            NvjpegError: At least one of them cannot be decoded; which one is not known.
        """
        count = len(jpegs)
        images = np.zeros((count, 2 * _CHANNELS), np.uint64)
        images[:, 0], images[:, _CHANNELS] = addresses, pitches
        if count != self._batch:
            self._batch = 0
            self._call("nvjpegDecodeBatchedInitialize", self._handle, self._state, count, _CPU_THREADS, _RGBI)
        try:
            self._call(
                "nvjpegDecodeBatched",
                self._handle,
                self._state,
                ctypes.c_void_p(address_of(jpegs)),
                ctypes.c_void_p(address_of(lengths)),
                ctypes.c_void_p(address_of(images)),
                ctypes.c_void_p(stream),
            )
        except NvjpegError:
            self._batch = 0
            raise
        self._batch = count

    def free(self) -> None:
        """Frees the decoder; a second call does nothing."""
        if self._state:
            self._call("nvjpegJpegStateDestroy", self._state)
            self._state = ctypes.c_void_p()
        if self._handle:
            self._call("nvjpegDestroy", self._handle)
            self._handle = ctypes.c_void_p()

    def _create(self) -> tuple[Any, Any]:
        libraries = load_libraries()
        reason = "it is not installed"
        for backend in _BACKENDS:
            for library, look in libraries:
                status = library.nvjpegCreateEx(backend, None, None, _INTERPOLATED, ctypes.byref(self._handle))
                if not status:
                    return library, look
                reason = f"nvjpegCreateEx failed ({status})"
        raise MissingDependencyError(f"nvJPEG cannot be used: {reason}; pip install nvidia-nvjpeg-cu12")

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise NvjpegError(f"{function} failed ({status})")


@lru_cache(maxsize=1)
def load_libraries() -> list[tuple[Any, Any]]:
    """Loads every libnvjpeg there is, newest first: a library may be too new for the driver.

    Returns:
        For each, the library, and the same one for calls so short that giving up the GIL would cost more than they do.
    """
    libraries = []
    for name in _candidates():
        try:
            libraries.append((ctypes.CDLL(name), ctypes.PyDLL(name)))
        except OSError:
            continue
    return libraries


def versions() -> list[str]:
    """Returns the version of every libnvjpeg that can be loaded, e.g. `13.3.2`; needs no GPU."""
    found = []
    for library, _ in load_libraries():
        part = ctypes.c_int()
        parts = []
        for kind in range(3):  # MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL (library_types.h)
            library.nvjpegGetProperty(kind, ctypes.byref(part))
            parts.append(str(part.value))
        found.append(".".join(parts))
    return found


def _candidates() -> Iterator[str]:
    package = importlib.util.find_spec("nvidia")
    folders = list(package.submodule_search_locations or ()) if package else []
    for packaged, system in zip(_PACKAGED, _SYSTEM, strict=True):
        yield from (str(path) for folder in folders if (path := Path(folder) / packaged).is_file())
        yield system
