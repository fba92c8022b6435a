"""Fake `libnvjpeg`: OpenCV stands for the hardware, and writes to the fake GPU's memory on the fake stream.

It takes the arguments as the library does, pointers included, and refuses what the hardware refuses.
"""

from __future__ import annotations

import ctypes
import io
import itertools
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.azaion_engine.fakes.fake_cuda import FakeCuda, streams

SUCCESS, INVALID, BAD_JPEG, UNSUPPORTED, ARCH_MISMATCH = 0, 2, 3, 4, 7
HARDWARE, RGBI, INTERPOLATED = 3, 5, 32


class FakeNvjpeg:
    """The functions of one library; `cuda.decodes` and `cuda.decoding_hardware` say what the GPU has."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.open: set[int] = set()
        self._handles = itertools.count(1)  # engines make their decoders in several threads
        self.batches: dict[int, int] = {}
        self.calls: list[int] = []
        """Size of each decoded batch, also of those that failed."""

    def nvjpegGetProperty(self, kind: int, value: Any) -> int:
        ctypes.cast(value, ctypes.POINTER(ctypes.c_int))[0] = (13, 3, 2)[kind]
        return SUCCESS

    def nvjpegCreateEx(self, backend: int, device: None, pinned: None, flags: int, handle: Any) -> int:
        self.cuda.check()
        assert flags == INTERPOLATED, "colours must be upsampled as on the CPU"
        if backend == HARDWARE and not self.cuda.decoding_hardware:
            return ARCH_MISMATCH
        return self._open(handle)

    def nvjpegJpegStateCreate(self, handle: ctypes.c_void_p, state: Any) -> int:
        self._check(handle)
        return self._open(state)

    def nvjpegDestroy(self, handle: ctypes.c_void_p) -> int:
        return self._close(handle)

    def nvjpegJpegStateDestroy(self, state: ctypes.c_void_p) -> int:
        self.batches.pop(state.value or 0, None)
        return self._close(state)

    def nvjpegGetImageInfo(
        self,
        handle: ctypes.c_void_p,
        data: ctypes.c_void_p,
        length: ctypes.c_size_t,
        components: Any,
        subsampling: Any,
        widths: Any,
        heights: Any,
    ) -> int:
        self._check(handle)
        try:
            with Image.open(io.BytesIO(ctypes.string_at(data, length.value)), formats=["JPEG"]) as image:
                widths[0], heights[0] = image.size
        except Exception:
            return BAD_JPEG
        return SUCCESS

    def nvjpegDecodeBatchedInitialize(
        self, handle: ctypes.c_void_p, state: ctypes.c_void_p, batch: int, threads: int, output: int
    ) -> int:
        self._check(handle, state)
        if batch < 1 or output != RGBI:
            return INVALID
        self.batches[state.value or 0] = batch
        return SUCCESS

    def nvjpegDecodeBatched(
        self,
        handle: ctypes.c_void_p,
        state: ctypes.c_void_p,
        jpegs: ctypes.c_void_p,
        lengths: ctypes.c_void_p,
        images: ctypes.c_void_p,
        stream: ctypes.c_void_p,
    ) -> int:
        self._check(handle, state)
        self.cuda.check()
        count = self.batches.get(state.value or 0, 0)
        assert count, "not initialised"
        self.calls.append(count)
        if not self.cuda.decodes:
            return UNSUPPORTED
        places = _numbers(images, 8 * count).reshape(count, 8)
        data = zip(_numbers(jpegs, count).tolist(), _numbers(lengths, count).tolist(), strict=True)
        decoded = [_decode(ctypes.string_at(address, length)) for address, length in data]
        if any(pixels is None for pixels in decoded):
            return BAD_JPEG
        for pixels, place in zip(decoded, places, strict=True):
            assert pixels is not None
            assert place[4] == pixels.strides[0], "rows are packed"
            target = self.cuda.memory(int(place[0]), pixels.nbytes)
            streams[stream.value or 0].put(lambda to=target, of=pixels: ctypes.memmove(to, of.ctypes.data, of.nbytes))
        self.cuda.decoded += count
        return SUCCESS

    def _open(self, handle: Any) -> int:
        made = next(self._handles)
        self.open.add(made)
        ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[0] = made
        return SUCCESS

    def _close(self, handle: ctypes.c_void_p) -> int:
        self.cuda.check()
        self._check(handle)
        self.open.remove(handle.value or 0)
        return SUCCESS

    def _check(self, *handles: ctypes.c_void_p) -> None:
        assert all(handle.value in self.open for handle in handles), "used after it was freed"


def _numbers(address: ctypes.c_void_p, count: int) -> np.ndarray[Any, Any]:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint64)), (count,)).copy()


def _decode(jpeg: bytes) -> np.ndarray[Any, Any] | None:
    """Decodes what the hardware would; OpenCV hides damage, so Pillow decides first."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            image.load()
            if image.info.get("progressive") or image.mode not in ("L", "RGB"):
                return None
    except Exception:
        return None
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags), cv2.COLOR_BGR2RGB)
