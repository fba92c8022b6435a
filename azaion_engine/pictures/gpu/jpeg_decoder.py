"""JpegDecoder: batches of JPEGs decoded by the GPU, with nvImageCodec. JpegDecoders opens several at a time."""

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
"""Threads that read headers and feed the hardware; an H100's decoder has seven units."""

_KEPT_BYTES = 64 * 2**20
"""Decoded pictures up to this size leave their memory to the next batch; larger ones give it back."""

_BACKENDS = (("HW_GPU_ONLY",), ("GPU_ONLY", "HYBRID_CPU_GPU"))
"""The decoding hardware, or where a GPU has none, its multiprocessors.

Not both in one decoder: its first batch opens them all, which takes 1.2 s on an H100 and another 0.3 s for a second
decoder; the hardware alone takes 1.0 and 0.14.
"""


_LEAST = 2
"""JPEGs that are decoded at a time at least: for the first one alone nvImageCodec opens another way, which takes 0.33 s
beside an H100 and is no quicker afterwards (1.4 ms a picture of 1280², beside another one 1.3)."""


def load_nvimgcodec() -> Any:
    """Returns the module `nvidia.nvimgcodec`, which takes half a second the first time.

    Raises:
        MissingDependencyError: It is not installed, or there is no GPU to use it on.
    """
    load_driver()
    try:
        from nvidia import nvimgcodec
    except (ImportError, OSError) as error:  # no package, or no library that it needs
        raise MissingDependencyError(f"nvImageCodec cannot be loaded: {error}") from error
    return nvimgcodec


class DecodedPicture(NamedTuple):
    """Pixels on the GPU: uint8 `[height, width, 3]`, RGB, as stored (no orientation applied).

    Attributes:
        address: Of the first pixel.
        pitch: Bytes from one row to the next.
        width: Pixels across.
        height: Pixels down.
    """

    address: int
    pitch: int
    width: int
    height: int


class JpegDecoder:
    """Decodes one batch at a time; for one thread at a time."""

    def __init__(self, device_id: int, batch_size: int, grey: bytes) -> None:
        """Opens the decoder and decodes a first batch, so that the memory is there and trouble shows now.

        Args:
            device_id: CUDA index of the GPU; its context need not be current.
            batch_size: Most JPEGs at a time.
            grey: A plain JPEG, of the size of pictures to expect.

        Raises:
            MissingDependencyError: PyCUDA or nvImageCodec is not installed, or decodes nothing here.
            ConfigurationError: The GPU gives no CUDA context.
        """
        self._codec = load_nvimgcodec()
        # Orientation is the letterbox kernel's.
        self._params = self._codec.DecodeParams(apply_exif_orientation=False)
        self._grey = self._codec.CodeStream(grey)
        self._decoder: Any = None
        self._images: list[Any] = []
        self._context = cuda_context(device_id)
        with self._context.active():
            # A stream of its own for as long as it lives: nvImageCodec comes back to the stream that a picture's memory
            # was first decoded on.
            self._stream = make_stream(self._context.driver)
            self._decoded = self._context.driver.Event(self._context.driver.event_flags.DISABLE_TIMING)
            try:
                self._open(device_id, [self._grey] * max(batch_size, _LEAST))
                self._decode([self._grey])  # the first one into kept memory
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
                # A full batch: nvImageCodec works out from the first one, once, how many of a batch the hardware may
                # take (nvimgcodec.h, NVIMGCODEC_LOAD_HINT_POLICY_FIXED), and has the rest decoded by the processor.
                self._images = self._decoder.decode(codes, params=self._params, cuda_stream=self._stream.handle)
            except Exception as error:  # nvImageCodec's errors have no common base
                reason = str(error)
                continue
            if None not in self._images:
                return
        raise MissingDependencyError(f"nvImageCodec does not work here: {reason}; is nvJPEG installed?")

    def decode(self, jpegs: Sequence[bytes], stream: Any) -> list[DecodedPicture | None]:
        """Starts decoding; the pixels are there for what follows on the stream, until the next call.

        Args:
            jpegs: At most as many as the batch size.
            stream: A `pycuda.driver.Stream` that is done with the pictures of the call before; the context is current.

        Returns:
            One for each JPEG; None for what could not be decoded.
        """
        codes = [self._read(jpeg) for jpeg in jpegs]
        known = [code for code in codes if code is not None]
        decoded = iter(self._decode(known) if known else [])
        self._decoded.record(self._stream)
        stream.wait_for_event(self._decoded)
        return [_describe(next(decoded)) if code is not None else None for code in codes]

    def forget_large(self) -> None:
        """Gives unusually large memory back; to be called when the batch is over."""
        for index, image in enumerate(self._images):
            if image is not None and image.capacity > _KEPT_BYTES:
                self._images[index] = None

    def free(self) -> None:
        """Gives all memory back."""
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
        except Exception as error:  # usually no memory; nvImageCodec's errors have no common base
            logger.warning("nvImageCodec failed on a batch of %d: %s", len(codes), error)
            return [None] * len(codes)
        for index, image in enumerate(images):
            if image is not None:
                self._images[index] = image
        return list(images)


class JpegDecoders:
    """Some decoders, each for whoever takes it; leaving a `with` block gives back what nobody took."""

    def __init__(self, count: int, batch_size: int, size: tuple[int, int], device_id: int = 0) -> None:
        """Makes the CUDA context, loads nvImageCodec, and begins to open the decoders, which takes a second.

        What goes wrong shows when a decoder is taken.

        Args:
            count: How many.
            batch_size: Most JPEGs that each decodes at a time.
            size: (height, width) of pictures to expect, in pixels.
            device_id: CUDA index of the GPU.
        """
        grey = encode_jpeg(np.full((*size, 3), PAD_VALUE, np.uint8))
        with suppress(MissingDependencyError, ConfigurationError):
            # Before this thread goes on to TensorRT, as the decoders take longest. And one after the other: side by
            # side they take 1.3 s as well, as the driver and the library loader let in one at a time.
            cuda_context(device_id)
            load_nvimgcodec()
        pool = ThreadPoolExecutor(count, "load")
        self._opening: list[Future[JpegDecoder]] = [
            pool.submit(JpegDecoder, device_id, batch_size, grey) for _ in range(count)
        ]
        pool.shutdown(wait=False)

    def take(self) -> JpegDecoder:
        """Waits for one of them, which is then the caller's; at most as often as there are some.

        Raises:
            MissingDependencyError: As of `JpegDecoder`.
            ConfigurationError: The GPU gives no CUDA context.
        """
        return self._opening.pop().result()

    def __enter__(self) -> JpegDecoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._opening:
            with suppress(Exception):  # of opening: nobody wanted it
                self.take().free()


def _describe(image: Any) -> DecodedPicture | None:
    if image is None:
        return None
    height, width, _ = image.shape
    return DecodedPicture(image.__cuda_array_interface__["data"][0], image.strides[0], width, height)
