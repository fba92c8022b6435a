"""JpegDecoder: decodes batches of JPEGs on the GPU with nvImageCodec. JpegDecoders opens several at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from azaion_engine.cuda.context import cuda_context, load_driver, make_stream
from azaion_engine.errors import ConfigurationError, MissingDependencyError
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pictures.letterbox import PAD_VALUE
from azaion_engine.system.cores import available_cores

logger = logging.getLogger(__name__)

_THREADS = 8
"""Maximum number of threads that read headers and feed the hardware decoder; an H100's has seven units."""

_KEPT_BYTES = 64 * 2**20
"""Memory of decoded pictures up to this size is kept for the next batch; larger memory is freed."""

_BACKENDS = (("HW_GPU_ONLY",), ("GPU_ONLY", "HYBRID_CPU_GPU"))
"""Backends in order of preference: the hardware decoder, or the multiprocessors of a GPU that has none.

Not both in one decoder: its first batch opens all its backends, which takes longer than the hardware decoder alone.
"""


_LEAST = 2
"""Minimum size of a decoded batch: for the first single JPEG nvImageCodec opens a separate path, which takes long and
decodes no faster afterwards."""


def load_nvimgcodec() -> Any:
    """Returns the module `nvidia.nvimgcodec`; importing it the first time is slow.

    Raises:
        MissingDependencyError: It is not installed, or there is no GPU to use it on.
    """
    load_driver()
    try:
        from nvidia import nvimgcodec
    except (ImportError, OSError) as error:  # the package, or a library that it needs, is missing
        raise MissingDependencyError(f"nvImageCodec cannot be loaded: {error}") from error
    return nvimgcodec


class DecodedPicture(NamedTuple):
    """Pixels on the GPU: uint8 `[height, width, 3]`, RGB, as stored (no orientation applied).

    Attributes:
        address: GPU address of the first pixel.
        pitch: Bytes from one row to the next.
        width: Width in pixels.
        height: Height in pixels.
    """

    address: int
    pitch: int
    width: int
    height: int


class JpegDecoder:
    """Decodes one batch at a time; used by one thread at a time."""

    def __init__(self, device_id: int, batch_size: int, grey: bytes) -> None:
        """Opens the decoder and decodes a first batch, which allocates the memory and reveals errors early.

        Args:
            device_id: CUDA index of the GPU; its context need not be current.
            batch_size: Maximum number of JPEGs per batch.
            grey: A plain JPEG of the size that pictures are expected to have.

        Raises:
            MissingDependencyError: PyCUDA or nvImageCodec is not installed, or nvImageCodec decodes nothing here.
            ConfigurationError: The GPU gives no CUDA context.
        """
        self._codec = load_nvimgcodec()
        # The letterbox kernel applies the orientation.
        self._params = self._codec.DecodeParams(apply_exif_orientation=False)
        self._grey = self._codec.CodeStream(grey)
        self._decoder: Any = None
        self._images: list[Any] = []
        self._context = cuda_context(device_id)
        with self._context.active():
            # Own stream, as long-lived as the decoder: nvImageCodec uses the stream again on which it first decoded
            # into a picture's memory.
            self._stream = make_stream(self._context.driver)
            self._decoded = self._context.driver.Event(self._context.driver.event_flags.DISABLE_TIMING)
            try:
                self._open(device_id, [self._grey] * max(batch_size, _LEAST))
                self._decode([self._grey])  # the first batch into kept memory
                self._stream.synchronize()
            except BaseException:
                self.free()
                raise

    def _open(self, device_id: int, codes: list[Any]) -> None:
        reason = "it does not decode a plain JPEG"
        for kinds in _BACKENDS:
            backends = [self._codec.Backend(getattr(self._codec.BackendKind, kind)) for kind in kinds]
            threads = min(_THREADS, available_cores())
            try:
                self._decoder = self._codec.Decoder(device_id=device_id, max_num_cpu_threads=threads, backends=backends)
                # A full batch: from the first batch nvImageCodec calculates once how many of a batch the hardware takes
                # (nvimgcodec.h, NVIMGCODEC_LOAD_HINT_POLICY_FIXED); the CPU decodes the rest.
                self._images = self._decoder.decode(codes, params=self._params, cuda_stream=self._stream.handle)
            except Exception as error:  # nvImageCodec's errors have no common base
                reason = str(error)
                continue
            if None not in self._images:
                return
        raise MissingDependencyError(f"nvImageCodec does not work here: {reason}; is nvJPEG installed?")

    def decode(self, jpegs: Sequence[bytes], stream: Any) -> list[DecodedPicture | None]:
        """Starts decoding; later work on the stream can read the pixels, until the next call.

        Args:
            jpegs: At most `batch_size` JPEGs.
            stream: A `pycuda.driver.Stream` that no longer reads the previous call's pictures; its context is current.

        Returns:
            One for each JPEG; None if it could not be decoded.
        """
        codes = [self._read(jpeg) for jpeg in jpegs]
        known = [code for code in codes if code is not None]
        decoded = iter(self._decode(known) if known else [])
        self._decoded.record(self._stream)
        stream.wait_for_event(self._decoded)
        return [_describe(next(decoded)) if code is not None else None for code in codes]

    def forget_large(self) -> None:
        """Frees unusually large memory; must be called after the batch is over."""
        for index, image in enumerate(self._images):
            if image is not None and image.capacity > _KEPT_BYTES:
                self._images[index] = None

    def free(self) -> None:
        """Frees all memory."""
        with self._context.active():
            self._images.clear()
            self._grey = self._decoder = self._stream = self._decoded = None

    def _read(self, jpeg: bytes) -> Any:
        try:
            return self._codec.CodeStream(jpeg)
        except Exception as error:  # nvImageCodec's errors have no common base
            logger.debug("nvImageCodec cannot read a JPEG's header: %s", error)
            return None

    def _decode(self, codes: list[Any]) -> list[Any]:
        codes = codes + [self._grey] * (_LEAST - len(codes))
        kept = self._images[: len(codes)]
        reusable = {} if None in kept else {"images": kept}
        try:
            images = self._decoder.decode(codes, params=self._params, cuda_stream=self._stream.handle, **reusable)
        except Exception as error:  # usually out of memory; nvImageCodec's errors have no common base
            logger.warning("nvImageCodec failed on a batch of %d: %s", len(codes), error)
            return [None] * len(codes)
        for index, image in enumerate(images):
            if image is not None:
                self._images[index] = image
        return list(images)


class JpegDecoders:
    """Several decoders that callers take one by one; leaving a `with` block frees the remaining ones."""

    def __init__(self, count: int, batch_size: int, size: tuple[int, int], device_id: int = 0) -> None:
        """Makes the CUDA context, loads nvImageCodec, and starts opening the decoders in threads.

        `take` raises the errors.

        Args:
            count: Number of decoders.
            batch_size: Maximum number of JPEGs per batch of a decoder.
            size: (height, width) that pictures are expected to have, in pixels.
            device_id: CUDA index of the GPU.
        """
        grey = encode_jpeg(np.full((*size, 3), PAD_VALUE, np.uint8))
        with suppress(MissingDependencyError, ConfigurationError):
            # Before this thread goes on to TensorRT, because opening decoders takes longest. One after the other,
            # because threads gain nothing: the driver and the library loader let in one at a time.
            cuda_context(device_id)
            load_nvimgcodec()
        pool = ThreadPoolExecutor(count, "load")
        self._opening: list[Future[JpegDecoder]] = [
            pool.submit(JpegDecoder, device_id, batch_size, grey) for _ in range(count)
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


def _describe(image: Any) -> DecodedPicture | None:
    if image is None:
        return None
    height, width, _ = image.shape
    return DecodedPicture(image.__cuda_array_interface__["data"][0], image.strides[0], width, height)
