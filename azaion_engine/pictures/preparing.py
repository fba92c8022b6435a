"""Preparing: pictures of any kind → prepared pictures, in the form that an engine takes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from azaion_engine.errors import PictureError, reason
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.input_form import DEFAULT_FORM, InputForm
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.pixels import from_pillow, pillow_image_bytes
from azaion_engine.pictures.prepared import (
    ArrayPicture,
    HeldTile,
    JpegPicture,
    PictureForm,
    PixelPicture,
    PreparedPicture,
    Selection,
    TilePicture,
)
from azaion_engine.pictures.resizing import resizing_bytes
from azaion_engine.system.whole_file import read_whole

Picture = bytes | bytearray | memoryview | Path | str | Image.Image | NDArray[np.uint8]
"""Encoded bytes, the path of a picture file, a PIL image, or uint8 RGB pixels `[height, width, 3]`."""

ONE_PICTURE = (bytes, bytearray, memoryview, Path, str, Image.Image, np.ndarray)
"""Types of `Picture`, to tell one from several."""

HERE_BYTES, HERE_PIXELS = 16 * 1024, 256 * 256
"""Largest JPEG that is decoded where it comes in: its bytes, and its pixels and the network's together.

Decoding it takes as long as handing it to a thread and back. Both limits count, because a picture of any other kind can
claim any number of pixels in a few bytes. Figures: docs/decisions/0008.
"""


_LINEAR_BYTES = 16
"""Bytes a pixel of the network input: the resized picture, its channels, and the result as float32."""


class DecodePlace(Enum):
    """Where a picture is best decoded: by the caller itself, in a thread, or on the GPU."""

    HERE = 1
    THREAD = 2
    GPU = 3


class Preparer:
    """Prepares pictures for one engine; thread-safe.

    Attributes:
        form: Form that the engine takes.
        limits: Largest accepted pictures.
        memory: Budget of all decodes at once.
    """

    def __init__(
        self,
        size: tuple[int, int],
        form: PictureForm,
        limits: PictureLimits,
        input_form: InputForm = DEFAULT_FORM,
        memory: DecodeMemory | None = None,
    ) -> None:
        """Stores the settings.

        Args:
            size: (height, width) of the network input, in pixels.
            form: Form that the engine takes.
            limits: Largest accepted pictures.
            input_form: What the network takes; forms other than the default need `PictureForm.ARRAY`.
            memory: Budget of all decodes at once; default: `DecodeMemory.of_machine`'s.
        """
        self._size = size
        self._input_form = input_form
        self.form = form
        self.limits = limits
        self.memory = memory or DecodeMemory.of_machine()

    def place_of(self, picture: EncodedPicture) -> DecodePlace:
        """Returns where a picture is best decoded; takes microseconds.

        `GPU` is likely but not certain: `prepare` looks closer, and decodes on the CPU what the hardware would not.
        """
        jpeg = picture.jpeg
        if jpeg is None:
            return DecodePlace.THREAD
        if self.form is PictureForm.JPEG and jpeg.suits_hardware:
            return DecodePlace.GPU
        pixels = jpeg.width * jpeg.height + self._size[0] * self._size[1]
        is_tiny = jpeg.plain and len(picture.data) <= HERE_BYTES and pixels <= HERE_PIXELS
        return DecodePlace.HERE if is_tiny else DecodePlace.THREAD

    def prepare(
        self,
        picture: Picture | EncodedPicture | HeldTile,
        selection: Selection | None = None,
        timeout_s: float | None = None,
    ) -> PreparedPicture:
        """Decodes a picture and fits it into the network input, or leaves both to the GPU.

        Args:
            picture: Encoded bytes, a path, a PIL image, which its EXIF orientation turns upright, or uint8 RGB pixels
                `[height, width, 3]`; or a tile of a picture that the engine holds.
            selection: Which boxes its caller wants; None: every box of the head.
            timeout_s: Maximum time to wait for memory that other decodes hold, in seconds; None: as long as it takes.

        Raises:
            PictureError: The picture cannot be decoded or is too large; the message says what was given.
            OutOfMemoryError: No memory was left, or other decodes held it for all that time.
        """
        if isinstance(picture, np.ndarray):
            return self._prepare_pixels(picture, selection)
        if isinstance(picture, HeldTile):
            return TilePicture(self._fit(picture.width, picture.height), picture, selection)
        if isinstance(picture, Image.Image):
            with self.memory.hold(pillow_image_bytes(picture, self.limits), timeout_s):
                return self._prepare_pixels(from_pillow(picture), selection)
        if not isinstance(picture, EncodedPicture):
            picture = self.encoded(picture)
        if (jpeg := self.for_hardware(picture, selection)) is not None:
            return jpeg
        if self.place_of(picture) is DecodePlace.HERE:  # takes less than the least that is accounted for
            return self._prepare_pixels(picture.decode(), selection)
        needed = picture.decoding_bytes() + self._fitting_bytes(picture)
        with self.memory.hold(needed, timeout_s, picture.forget):
            return self._prepare_pixels(picture.decode(), selection)

    def for_hardware(self, picture: EncodedPicture, selection: Selection | None = None) -> JpegPicture | None:
        """Prepares a JPEG that the GPU decodes; returns None for every other picture.

        Args:
            picture: Encoded.
            selection: Which boxes its caller wants; None: every box of the head.

        Raises:
            PictureError: The picture cannot be read or is too large.
        """
        header = picture.read_hardware_header() if self.form is PictureForm.JPEG else None
        if header is None:
            return None
        letterbox = self._fit(header.width, header.height)
        return JpegPicture(letterbox, picture.data, header.orientation, selection)

    def encoded(self, picture: bytes | bytearray | memoryview | Path | str) -> EncodedPicture:
        """Returns an encoded picture, after reading its file if it is a path.

        Raises:
            PictureError: The file cannot be read.
        """
        return EncodedPicture(_read(picture), self.limits)

    def opened(self, picture: Picture | EncodedPicture) -> EncodedPicture | NDArray[np.uint8]:
        """Returns a picture of any kind as an encoded one or as pixels, for its decoder.

        Raises:
            PictureError: The file cannot be read, or the PIL image is too large.
            OutOfMemoryError: No memory was left.
        """
        if isinstance(picture, Image.Image):
            with self.memory.hold(pillow_image_bytes(picture, self.limits), None):
                return from_pillow(picture)
        return picture if isinstance(picture, (EncodedPicture, np.ndarray)) else self.encoded(picture)

    def _fit(self, width: int, height: int) -> Letterbox:
        return Letterbox.fit(width, height, *self._size, self._input_form.fit)

    def _fitting_bytes(self, picture: EncodedPicture) -> int:
        """Returns how much memory the letterbox takes at most besides picture and result, in bytes."""
        height, width = self._size
        fitting = _LINEAR_BYTES * height * width
        if self._input_form.resampling == "antialiased":
            header = picture.read_header()
            fitting += resizing_bytes(header.width, header.height, width, height)
        return fitting

    def _prepare_pixels(self, pixels: NDArray[np.uint8], selection: Selection | None) -> PreparedPicture:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise PictureError(
                f"expected uint8 RGB pixels [height, width, 3], given {pixels.dtype} {list(pixels.shape)}"
            )
        letterbox = self._fit(pixels.shape[1], pixels.shape[0])
        if self.form is PictureForm.ARRAY:
            return ArrayPicture(letterbox, letterbox.to_input(pixels, form=self._input_form), selection)
        return PixelPicture(letterbox, letterbox.apply(pixels), selection)


def _read(picture: bytes | bytearray | memoryview | Path | str) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, (bytearray, memoryview)):
        return bytes(picture)
    try:
        return read_whole(picture)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise PictureError(f"cannot read {str(picture)!r}: {reason(error)}") from error
