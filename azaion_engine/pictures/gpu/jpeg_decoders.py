"""JpegDecoders: decoders that open on threads of their own, beside whatever else there is to load."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType

import numpy as np

from azaion_engine.cuda.context import cuda_context
from azaion_engine.errors import ConfigurationError, MissingDependencyError
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoder, load_nvimgcodec
from azaion_engine.pictures.letterbox import PAD_VALUE


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
