"""JpegDecoder: batches of JPEGs decoded by the GPU, with nvImageCodec."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from azaion_engine.cores import available_cores
from azaion_engine.cuda_context import cuda_context, load_driver
from azaion_engine.errors import MissingDependencyError
from azaion_engine.image import encode_jpeg

logger = logging.getLogger(__name__)

_THREADS = 8
"""Threads that read headers and feed the hardware; an H100's decoder has seven units."""

_KEPT_BYTES = 64 * 2**20
"""Decoded pictures up to this size leave their memory to the next batch; larger ones give it back."""

_FIRST_DECODER_S = 60.0
"""Longest wait for the decoder that `start_loading` opens; two seconds are usual."""

_first: SimpleQueue[Future[Any]] = SimpleQueue()


def start_loading(device_id: int = 0) -> None:
    """Begins to make the CUDA context, to load nvImageCodec and to open a first decoder, each of which takes a second.

    On threads of their own, beside whatever else there is to load; what goes wrong there is said where it is missed.
    """
    pool = ThreadPoolExecutor(2, "load")
    pool.submit(cuda_context, device_id)
    if _first.empty():  # else nobody took the one before
        _first.put(pool.submit(_open_first, device_id))
    pool.shutdown(wait=False)


def _open_first(device_id: int) -> tuple[int, Any]:
    load_driver()  # without it nobody will need nvImageCodec
    from nvidia import nvimgcodec

    with cuda_context(device_id).active():
        return device_id, _open_decoder(nvimgcodec, device_id)


def _open_decoder(nvimgcodec: Any, device_id: int) -> Any:
    kinds = nvimgcodec.BackendKind
    # The first that can: the decoding hardware, or where a GPU has none, its multiprocessors.
    backends = [nvimgcodec.Backend(kind) for kind in (kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)]
    threads = min(_THREADS, available_cores())
    return nvimgcodec.Decoder(device_id=device_id, max_num_cpu_threads=threads, backends=backends)


def _take_decoder(nvimgcodec: Any, device_id: int) -> Any:
    """Gives the decoder that `start_loading` has opened, to the first who asks; else opens one."""
    with suppress(Exception):  # opening one anew will say what is wrong
        opened_for, decoder = _first.get_nowait().result(_FIRST_DECODER_S)
        if opened_for == device_id:
            return decoder
    return _open_decoder(nvimgcodec, device_id)


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
    """Decodes one batch at a time on a stream; for one thread at a time."""

    def __init__(self, device_id: int, stream: Any, batch_size: int, size: tuple[int, int]) -> None:
        """Opens the decoder and decodes a first batch, so that the memory is there and trouble shows now.

        Args:
            device_id: CUDA index of the GPU.
            stream: The `pycuda.driver.Stream` on which the pixels will be used.
            batch_size: Most JPEGs at a time.
            size: (height, width) of pictures to expect, in pixels.

        Raises:
            MissingDependencyError: nvImageCodec is not installed, or decodes nothing here.
        """
        try:
            from nvidia import nvimgcodec
        except (ImportError, OSError) as error:  # no package, or no library that it needs
            raise MissingDependencyError(f"nvImageCodec cannot be loaded: {error}") from error
        self._codec = nvimgcodec
        self._stream = stream
        # Orientation is the letterbox kernel's.
        self._params = nvimgcodec.DecodeParams(apply_exif_orientation=False)
        self._images: list[Any] = []
        try:
            self._decoder = _take_decoder(nvimgcodec, device_id)
            first_jpeg = encode_jpeg(np.full((*size, 3), 114, np.uint8))
            first = nvimgcodec.CodeStream(first_jpeg)
            # A full batch: nvImageCodec works out from the first one, once, how many of a batch the hardware may take
            # (nvimgcodec.h, NVIMGCODEC_LOAD_HINT_POLICY_FIXED), and has the rest decoded by the processor.
            images = self._decoder.decode([first] * batch_size, params=self._params, cuda_stream=stream.handle)
        except Exception as error:  # nvImageCodec's errors have no common base
            raise MissingDependencyError(f"nvImageCodec does not work here: {error}") from error
        if None in images:
            raise MissingDependencyError("nvImageCodec does not decode a plain JPEG here; is nvJPEG installed?")
        self._images = images
        self.decode([first_jpeg])  # the first one into kept memory, and alone

    def decode(self, jpegs: Sequence[bytes]) -> list[DecodedPicture | None]:
        """Starts decoding; the pixels are there for what follows on the stream, until the next call.

        Args:
            jpegs: At most as many as the batch size.

        Returns:
            One for each JPEG; None for what could not be decoded.
        """
        streams = [self._open(jpeg) for jpeg in jpegs]
        known = [stream for stream in streams if stream is not None]
        decoded = iter(self._decode(known) if known else [])
        return [_describe(next(decoded)) if stream is not None else None for stream in streams]

    def forget_large(self) -> None:
        """Gives unusually large memory back; to be called when the batch is over."""
        for index, image in enumerate(self._images):
            if image is not None and image.capacity > _KEPT_BYTES:
                self._images[index] = None

    def free(self) -> None:
        """Gives all memory back, while the context is current and the stream still exists."""
        self._images.clear()
        self._decoder = None

    def _open(self, jpeg: bytes) -> Any:
        try:
            return self._codec.CodeStream(jpeg)
        except Exception as error:  # nvImageCodec's errors have no common base
            logger.debug("nvImageCodec cannot read a JPEG's header: %s", error)
            return None

    def _decode(self, streams: list[Any]) -> list[Any]:
        kept = self._images[: len(streams)]
        reusable = {} if None in kept else {"images": kept}
        try:
            images = self._decoder.decode(streams, params=self._params, cuda_stream=self._stream.handle, **reusable)
        except Exception as error:  # usually no memory; nvImageCodec's errors have no common base
            logger.warning("nvImageCodec failed on a batch of %d: %s", len(streams), error)
            return [None] * len(streams)
        for index, image in enumerate(images):
            if image is not None:
                self._images[index] = image
        return list(images)


def _describe(image: Any) -> DecodedPicture | None:
    if image is None:
        return None
    height, width, _ = image.shape
    return DecodedPicture(image.__cuda_array_interface__["data"][0], image.strides[0], width, height)
