"""DecodeQueue: decodes single JPEGs of many threads; those that wait meanwhile are decoded together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from azaion_engine.cuda.context import CudaContext, make_stream
from azaion_engine.errors import MissingDependencyError
from azaion_engine.pictures.gpu.jpeg_decoder import DecodedPicture, JpegDecoder
from azaion_engine.pictures.gpu.nvjpeg import NvjpegError
from azaion_engine.pictures.prepared import JpegPicture, stored_size

logger = logging.getLogger(__name__)

MOST_TOGETHER = 4
"""Pictures of one call. The hardware has several engines, and decodes each picture of a call on another one; pictures
of several calls wait for the same one: three threads with a decoder each got 34 pictures of 8000×6000 a second on an
H200, a single one 30."""

_PATIENCE_S = 10.0
"""Timeout of freeing while pictures are decoded, seconds."""


@dataclass(eq=False)
class _Order:
    """A picture, where its pixels go, and what came of it."""

    picture: JpegPicture
    memory: Any
    decoded: DecodedPicture | None = None
    error: BaseException | None = None
    is_over: bool = False


class DecodeQueue:
    """Decodes JPEGs into memory of the callers; thread-safe. A thread that finds nobody at work decodes for all."""

    def __init__(self, context: CudaContext, open_decoder: Callable[[], JpegDecoder]) -> None:
        """Opens nothing yet.

        Args:
            context: The CUDA context.
            open_decoder: Opens a decoder for batches of `MOST_TOGETHER`; called for the first pictures.
        """
        self._context = context
        self._open_decoder = open_decoder
        self._opened: tuple[JpegDecoder, Any] | None = None
        self._waiting: list[_Order] = []
        self._is_busy = False
        self._changed = threading.Condition()

    @property
    def is_open(self) -> bool:
        """Whether there is a decoder already."""
        return self._opened is not None

    def decode(self, picture: JpegPicture, memory: Any) -> DecodedPicture | None:
        """Decodes a picture and waits for its pixels; the context is current.

        Args:
            picture: The JPEG.
            memory: PyCUDA's allocation, of `bytes_of` the picture or more.

        Returns:
            None if it cannot be decoded here, or if its scan is not surely whole.

        Raises:
            pycuda.driver.Error: The GPU is lost.
        """
        order = _Order(picture, memory)
        with self._changed:
            self._waiting.append(order)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: order.is_over or not self._is_busy)
                if order.is_over:
                    break
                self._is_busy = True
                orders, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
            try:
                self._run(orders)
            finally:
                with self._changed:
                    self._is_busy = False
                    for one in orders:
                        one.is_over = True
                    self._changed.notify_all()
        if order.error is not None:
            raise order.error
        return order.decoded

    def free(self) -> None:
        """Frees the decoder, with the context current; nobody may decode any more. A second call does nothing."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_busy, _PATIENCE_S):
                return  # left to the end of the process
            opened, self._opened = self._opened, None
        if opened is not None:
            decoder, stream = opened
            decoder.free()
            del opened, stream  # while the context is active: PyCUDA would leak it

    def _run(self, orders: Sequence[_Order]) -> None:
        try:
            decoder, stream = self._open()
            jpegs = [one.picture.jpeg for one in orders]
            sizes = [stored_size(one.picture) for one in orders]
            decoded = decoder.decode_into(jpegs, sizes, [int(one.memory) for one in orders], stream)
            stream.synchronize()
            doubtful = decoder.doubtful()
        except (MissingDependencyError, NvjpegError) as error:
            logger.warning("no decoder for pictures in tiles, the CPU decodes them: %s", error)
        except Exception as error:
            for one in orders:
                one.error = error
        else:
            for index, one in enumerate(orders):
                one.decoded = None if index in doubtful else decoded[index]

    def _open(self) -> tuple[JpegDecoder, Any]:
        if self._opened is None:
            self._opened = self._open_decoder(), make_stream(self._context.driver)
        return self._opened
