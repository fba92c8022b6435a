"""PictureLoader: prepared pictures → the network's input on the GPU; decoding, upload and letterbox of one batch."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.memory import DeviceBuffer, DeviceMemory
from azaion_engine.cuda.staging import Staging
from azaion_engine.errors import AzaionError, ExecutionError, MissingDependencyError, OutOfMemoryError, PictureError
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoder
from azaion_engine.pictures.gpu.letterbox_kernel import RECORD, LetterboxKernel, pack_record
from azaion_engine.pictures.gpu.surfaces import Surface, Surfaces
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.input_form import DEFAULT_FORM, InputForm
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import JpegPicture, LoadablePicture, PixelPicture, TilePicture, stored_size

logger = logging.getLogger(__name__)

_Source = tuple[int, bytes]
"""GPU address of a picture's first stored pixel, and its packed record."""

_CHECKED = PictureLimits(sys.maxsize, sys.maxsize)
"""No limits: they were checked when the picture was prepared."""


class PictureLoader:
    """Loads batches into one network input on one stream; every method needs the CUDA context current.

    Attributes:
        decodes_jpeg: Whether JPEGs are decoded on the GPU.
    """

    def __init__(
        self,
        driver: Any,
        network_input: DeviceMemory,
        staging: Staging,
        stream: Any,
        take_decoder: Callable[[], JpegDecoder],
        form: InputForm = DEFAULT_FORM,
        surfaces: Surfaces | None = None,
    ) -> None:
        """Allocates memory.

        Args:
            driver: The module `pycuda.driver`.
            network_input: float32 or float16 `[batch, 3, height, width]`.
            staging: Uploads pixels, on the same stream.
            stream: The `pycuda.driver.Stream` for all work.
            take_decoder: Returns the JPEG decoder; if it raises MissingDependencyError, the CPU decodes.
            form: What the network takes; `form.on_gpu` holds.
            surfaces: The pictures of tiles; None: there are no tiles.

        Raises:
            pycuda.driver.Error: Not enough memory, or the driver rejects the kernel.
        """
        self._stream, self._staging = stream, staging
        self._input = network_input
        batch, _, height, width = network_input.shape
        self._size = (height, width)
        self._identity = Letterbox.fit(width, height, height, width)
        self._kernel = LetterboxKernel(driver, network_input.dtype, form, stream)
        self._surfaces = surfaces
        self._in_use: list[Surface] = []
        self._jpegs: list[int] = []
        self._decoder: JpegDecoder | None = None
        self._pixels: Any = None
        try:
            self._pixels = driver.mem_alloc(batch * height * width * 3)
            self._records = DeviceBuffer(driver, (batch, RECORD.itemsize), np.dtype(np.uint8))
        except BaseException:
            self._kernel.free()
            if self._pixels is not None:
                self._pixels.free()
            raise
        try:
            self._decoder = take_decoder()
        except MissingDependencyError as error:
            logger.warning("JPEGs are decoded on the CPU: %s", error)
        self.decodes_jpeg = self._decoder is not None

    def load(self, pictures: Sequence[LoadablePicture], *, on_cpu: bool = False) -> list[AzaionError | None]:
        """Starts to load the pictures that can be decoded into the first rows of the network input, in order.

        Args:
            pictures: At most a batch.
            on_cpu: Whether the CPU decodes all JPEGs.

        Returns:
            For each picture, its error, or None if it has a row.
        """
        self._done()  # with a batch that failed
        jpegs = {} if on_cpu else {i: one for i, one in enumerate(pictures) if isinstance(one, JpegPicture)}
        decoded = dict(zip(jpegs, self._decode(list(jpegs.values())), strict=True))
        self._jpegs = [index if found else -1 for index, found in decoded.items()]
        errors: list[AzaionError | None] = []
        sources: list[_Source] = []
        for index, picture in enumerate(pictures):
            try:
                if isinstance(picture, TilePicture):
                    sources.append(self._source_of(picture))
                else:
                    sources.append(decoded.get(index) or self._upload(len(sources), _pixels_of(picture)))
                errors.append(None)
            except (PictureError, OutOfMemoryError, ExecutionError) as error:
                errors.append(error)
        if sources:
            addresses, records = zip(*sources, strict=True)
            table = self._records.host[: len(sources)]
            table.reshape(-1)[:] = np.frombuffer(b"".join(records), np.uint8)
            table.view(RECORD)["pixels"][:, 0] += np.array(addresses, np.uint64)
            self._records.upload(table, self._stream)
            self._kernel.launch(self._records.address, len(sources), self._input.address, self._size, self._stream)
        return errors

    def doubtful(self) -> list[int]:
        """Returns the indices of the pictures whose rows may show another one: the CPU must decode them.

        To be called once after each `load`, when the stream is done: waits for the check of the JPEGs' scans.
        """
        if self._decoder is None:
            return []
        return [self._jpegs[number] for number in self._decoder.doubtful() if self._jpegs[number] >= 0]

    def finish(self) -> None:
        """Frees unusually large memory; must be called after the stream has finished the batch."""
        self._done()
        if self._decoder is not None:
            self._decoder.forget_large()

    def free(self) -> None:
        """Frees decoder and memory; a second call does nothing."""
        self._done()
        if self._decoder is not None:
            self._decoder.free()
            self._decoder = None
        self._records.free()
        self._kernel.free()
        pixels, self._pixels = self._pixels, None
        if pixels is not None:
            pixels.free()

    def _decode(self, pictures: Sequence[JpegPicture]) -> list[_Source | None]:
        if not pictures or self._decoder is None:
            return [None] * len(pictures)
        sizes = [stored_size(picture) for picture in pictures]
        decoded = self._decoder.decode([picture.jpeg for picture in pictures], sizes, self._stream)
        return [
            found and (found.address, pack_record(3 * found.width, picture.orientation, picture.letterbox))
            for found, picture in zip(decoded, pictures, strict=True)
        ]

    def _source_of(self, picture: TilePicture) -> _Source:
        if self._surfaces is None:
            raise ExecutionError("this engine holds no pictures")
        self._in_use.append(self._surfaces.use(picture))
        return self._in_use[-1].source_of(picture)

    def _done(self) -> None:
        """Tells that the stream reads no surface any more."""
        while self._in_use and self._surfaces is not None:
            self._surfaces.done(self._in_use.pop())

    def _upload(self, row: int, pixels: NDArray[np.uint8]) -> _Source:
        address = int(self._pixels) + row * pixels.size
        self._staging.upload(pixels, address, pixels.dtype)
        return address, pack_record(3 * pixels.shape[1], 1, self._identity)


def _pixels_of(picture: JpegPicture | PixelPicture) -> NDArray[np.uint8]:
    if isinstance(picture, JpegPicture):
        # The hardware could not decode it: the CPU decodes it, or raises the error that says why.
        return picture.letterbox.apply(decode(bytes(picture.jpeg), _CHECKED))
    return picture.pixels
