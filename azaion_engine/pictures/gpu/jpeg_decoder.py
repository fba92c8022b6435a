"""JpegDecoder: decodes batches of JPEGs on the GPU with nvJPEG. JpegDecoders opens several at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from azaion_engine.cuda.context import cuda_context, make_stream
from azaion_engine.cuda.memory import address_of
from azaion_engine.errors import ConfigurationError, MissingDependencyError
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pictures.gpu.entropy_kernel import CheckedJpeg, EntropyKernel, checked_jpeg
from azaion_engine.pictures.gpu.nvjpeg import Nvjpeg, NvjpegError, load_libraries
from azaion_engine.pictures.letterbox import PAD_VALUE

logger = logging.getLogger(__name__)

Size = tuple[int, int]

_KEPT_BYTES = 64 * 2**20
"""Size up to which a batch's memory is kept for the next one, for each picture of the largest batch."""

_ALIGNMENT = 256
"""Each picture begins at a multiple of this many bytes, as CUDA's own allocations do."""


class DecodedPicture(NamedTuple):
    """Pixels on the GPU: uint8 `[height, width, 3]`, RGB, rows packed, as stored (no orientation applied).

    Attributes:
        address: GPU address of the first pixel.
        width: Width in pixels.
        height: Height in pixels.
    """

    address: int
    width: int
    height: int


class _Jpeg(NamedTuple):
    address: int
    length: int


def bytes_of(size: Size) -> int:
    """Returns the bytes that a decoded picture of (width, height) pixels takes."""
    width, height = size
    return -(-3 * width * height // _ALIGNMENT) * _ALIGNMENT


class JpegDecoder:
    """Decodes one batch at a time; used by one thread at a time.

    nvJPEG does not tell when a scan ends before its picture does: its hardware then answers with pixels of a picture
    decoded before. `doubtful` tells.
    """

    def __init__(self, device_id: int, batch_size: int, size: Size) -> None:
        """Opens the decoder and decodes a first batch, which allocates the memory and reveals errors early.

        Args:
            device_id: CUDA index of the GPU; its context need not be current.
            batch_size: Maximum number of JPEGs per batch.
            size: (width, height) that pictures are expected to have, in pixels.

        Raises:
            MissingDependencyError: PyCUDA or nvJPEG is not installed, or nvJPEG decodes nothing here, or the driver
                does not take the kernel that checks the scans.
            ConfigurationError: The GPU gives no CUDA context.
        """
        width, height = size
        grey = encode_jpeg(np.full((height, width, 3), PAD_VALUE, np.uint8))
        self._context = cuda_context(device_id)
        self._driver = self._context.driver
        self._kept_bytes = _KEPT_BYTES * batch_size
        self._pixels: Any = None
        self._capacity = 0
        self._checked: list[int] = []
        with self._context.active():
            self._nvjpeg = Nvjpeg()
            try:
                self._entropy = EntropyKernel(self._driver, batch_size)
            except self._driver.Error as error:
                self._nvjpeg.free()
                raise MissingDependencyError(f"the scans of JPEGs cannot be checked on this GPU: {error}") from error
            stream = make_stream(self._driver)
            decoded = self.decode([grey] * batch_size, [size] * batch_size, stream)
            stream.synchronize()
            del stream  # while the context is active: PyCUDA would leak it
            doubtful = self.doubtful()
        if None in decoded or doubtful:
            self.free()
            raise MissingDependencyError("nvJPEG does not work here: it does not decode a plain JPEG")

    def decode(
        self, jpegs: Sequence[bytes | memoryview], sizes: Sequence[Size], stream: Any
    ) -> list[DecodedPicture | None]:
        """Starts decoding on a stream; the pixels are valid there until the next call.

        Args:
            jpegs: At most `batch_size` JPEGs, contiguous, which must live until the stream is done.
            sizes: (width, height) of each in pixels, as stored; memory for no more is allocated.
            stream: A `pycuda.driver.Stream` that no longer reads the previous call's pictures; its context is current.

        Returns:
            One for each JPEG; None if it could not be decoded, has another size, or a scan that cannot be checked.
        """
        data, checked = self._look(jpegs, sizes)
        lengths = [0 if check is None else bytes_of(size) for check, size in zip(checked, sizes, strict=True)]
        *offsets, end = accumulate(lengths, initial=0)
        try:
            begin = self._reserve(end)
        except self._driver.MemoryError as error:
            logger.warning("the GPU has no room for the pixels of %d JPEGs, %d bytes: %s", len(jpegs), end, error)
            return [None] * len(jpegs)
        return self._start(data, checked, sizes, [begin + offset for offset in offsets], stream)

    def decode_into(
        self,
        jpegs: Sequence[bytes | memoryview],
        sizes: Sequence[Size],
        addresses: Sequence[int],
        stream: Any,
    ) -> list[DecodedPicture | None]:
        """Starts decoding into memory of the caller; otherwise as `decode`.

        Args:
            jpegs: As in `decode`.
            sizes: As in `decode`.
            addresses: GPU address for each, of `bytes_of` its size or more.
            stream: As in `decode`.
        """
        return self._start(*self._look(jpegs, sizes), sizes, addresses, stream)

    def doubtful(self) -> list[int]:
        """Waits for the check of the scans of the last `decode`.

        Returns:
            Indices of the JPEGs whose scans are not surely whole: their pixels may be another picture's.
        """
        checked, self._checked = self._checked, []
        if not checked:
            return []
        return [index for index, whole in zip(checked, self._entropy.whole().tolist(), strict=True) if not whole]

    def forget_large(self) -> None:
        """Frees unusually large memory; must be called after the batch is over."""
        if self._capacity > self._kept_bytes:
            self._free_pixels()

    def free(self) -> None:
        """Frees all memory."""
        with self._context.active():
            self._free_pixels()
            self._entropy.free()
            self._nvjpeg.free()

    def _look(
        self, jpegs: Sequence[bytes | memoryview], sizes: Sequence[Size]
    ) -> tuple[list[_Jpeg], list[CheckedJpeg | None]]:
        """Returns where each JPEG is, and how its scan is checked; None if it is not to be decoded."""
        data = [_Jpeg(address_of(np.frombuffer(jpeg, np.uint8)), len(jpeg)) for jpeg in jpegs]
        checked = [
            check if (check := checked_jpeg(jpeg)) is not None and self._nvjpeg.size_of(*place) == size else None
            for jpeg, place, size in zip(jpegs, data, sizes, strict=True)
        ]
        return data, checked

    def _start(
        self,
        data: Sequence[_Jpeg],
        checked: Sequence[CheckedJpeg | None],
        sizes: Sequence[Size],
        addresses: Sequence[int],
        stream: Any,
    ) -> list[DecodedPicture | None]:
        try:
            self._check(checked)
        except self._driver.MemoryError as error:
            logger.warning("the GPU has no room to check the scans of %d JPEGs: %s", len(data), error)
            return [None] * len(data)
        places = [
            None if check is None else DecodedPicture(address, *size)
            for check, address, size in zip(checked, addresses, sizes, strict=True)
        ]
        return self._decode(data, places, stream)

    def _check(self, jpegs: Sequence[CheckedJpeg | None]) -> None:
        """Starts to check the scans of those that are given."""
        self._checked = []
        given = [(index, jpeg) for index, jpeg in enumerate(jpegs) if jpeg is not None]
        if given:
            self._entropy.start([jpeg for _, jpeg in given])
            self._checked = [index for index, _ in given]

    def _decode(
        self, jpegs: Sequence[_Jpeg], places: Sequence[DecodedPicture | None], stream: Any
    ) -> list[DecodedPicture | None]:
        """Decodes each JPEG that has a place; returns the places of those that could be decoded."""
        known = [(jpeg, place) for jpeg, place in zip(jpegs, places, strict=True) if place is not None]
        if not known:
            return list(places)
        table = [(*jpeg, place.address, 3 * place.width) for jpeg, place in known]
        data, lengths, addresses, pitches = np.array(table, np.uint64).T.copy()
        try:
            self._nvjpeg.decode(data, lengths, addresses, pitches, stream.handle)
        except NvjpegError as error:
            if len(jpegs) == 1:
                logger.debug("nvJPEG does not decode a JPEG: %s", error)
                return [None]
            # It does not say which one it was.
            return [self._decode([jpeg], [place], stream)[0] for jpeg, place in zip(jpegs, places, strict=True)]
        return list(places)

    def _reserve(self, size: int) -> int:
        """Returns the address of at least so many bytes; 0 for none."""
        if size > self._capacity:
            self._free_pixels()
            self._pixels = self._driver.mem_alloc(size)
            self._capacity = size
        return int(self._pixels or 0)

    def _free_pixels(self) -> None:
        pixels, self._pixels, self._capacity = self._pixels, None, 0
        if pixels is not None:
            pixels.free()


class JpegDecoders:
    """Several decoders that callers take one by one; leaving a `with` block frees the remaining ones."""

    def __init__(self, count: int, batch_size: int, size: tuple[int, int], device_id: int = 0) -> None:
        """Makes the CUDA context and starts opening the decoders in threads.

        `take` raises the errors.

        Args:
            count: Number of decoders.
            batch_size: Maximum number of JPEGs per batch of a decoder.
            size: (height, width) of the network input: what pictures are expected to have, in pixels.
            device_id: CUDA index of the GPU.
        """
        with suppress(MissingDependencyError, ConfigurationError):
            # Before this thread goes on to TensorRT, because opening decoders takes longest. One after the other,
            # because threads gain nothing: the driver and the library loader let in one at a time.
            cuda_context(device_id)
            load_libraries()
        pool = ThreadPoolExecutor(count, "load")
        self._opening: list[Future[JpegDecoder]] = [
            pool.submit(JpegDecoder, device_id, batch_size, size[::-1]) for _ in range(count)
        ]
        pool.shutdown(wait=False)

    def take(self) -> JpegDecoder:
        """Waits for a decoder and hands it over to the caller; at most `count` times.

        Raises:
            MissingDependencyError: See `JpegDecoder`.
            ConfigurationError: The GPU gives no CUDA context.
        """
        return self._opening.pop().result()

    def __enter__(self) -> JpegDecoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._opening:
            with suppress(Exception):  # opening failed, but nobody took this decoder
                self.take().free()
