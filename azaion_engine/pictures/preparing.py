"""Preparing: pictures of any kind → prepared pictures, in the form that an engine takes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import PictureError, reason
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.input_form import DEFAULT_FORM, InputForm
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import (
    ArrayPicture,
    JpegPicture,
    PictureForm,
    PixelPicture,
    PreparedPicture,
    Selection,
)

Picture = bytes | Path | str | NDArray[np.uint8]
"""Encoded bytes, the path of a picture file, or uint8 RGB pixels `[height, width, 3]`."""


HERE_BYTES, HERE_PIXELS = 16 * 1024, 256 * 256
"""Largest JPEG that is decoded where it comes in: its bytes, and its pixels and the network's together.

Decoding it takes as long as handing it to a thread and back. Both limits count, because a picture of any other kind can
claim any number of pixels in a few bytes. Figures: benchmarks/README.md, Special paths.
"""


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
    """

    def __init__(
        self,
        size: tuple[int, int],
        form: PictureForm,
        limits: PictureLimits,
        input_form: InputForm = DEFAULT_FORM,
    ) -> None:
        """Stores the settings.

        Args:
            size: (height, width) of the network input, in pixels.
            form: Form that the engine takes.
            limits: Largest accepted pictures.
            input_form: What the network takes; forms other than the default need `PictureForm.ARRAY`.
        """
        self._size = size
        self._input_form = input_form
        self.form = form
        self.limits = limits

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

    def prepare(self, picture: Picture | EncodedPicture, selection: Selection | None = None) -> PreparedPicture:
        """Decodes a picture and fits it into the network input, or leaves both to the GPU.

        Args:
            picture: Encoded bytes, a path, or uint8 RGB pixels `[height, width, 3]`.
            selection: Which boxes its caller wants; None: every box of the head.

        Raises:
            PictureError: The picture cannot be decoded or is too large; the message says what was given.
        """
        if isinstance(picture, np.ndarray):
            return self._prepare_pixels(picture, selection)
        if not isinstance(picture, EncodedPicture):
            picture = EncodedPicture(_read(picture), self.limits)
        header = picture.read_hardware_header() if self.form is PictureForm.JPEG else None
        if header is None:
            return self._prepare_pixels(picture.decode(), selection)
        letterbox = Letterbox.fit(header.width, header.height, *self._size)
        return JpegPicture(letterbox, picture.data, header.orientation, selection)

    def _prepare_pixels(self, pixels: NDArray[np.uint8], selection: Selection | None) -> PreparedPicture:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise PictureError(
                f"expected uint8 RGB pixels [height, width, 3], given {pixels.dtype} {list(pixels.shape)}"
            )
        letterbox = Letterbox.fit(pixels.shape[1], pixels.shape[0], *self._size, self._input_form.fit)
        if self.form is PictureForm.ARRAY:
            return ArrayPicture(letterbox, letterbox.to_input(pixels, form=self._input_form), selection)
        return PixelPicture(letterbox, letterbox.apply(pixels), selection)


def _read(picture: bytes | Path | str) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise PictureError(f"cannot read {str(picture)!r}: {reason(error)}") from error
