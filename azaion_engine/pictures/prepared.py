"""PreparedPicture: a picture in the form that an engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.pictures.selection import Selection

if TYPE_CHECKING:  # engines import this module and need no OpenCV
    from azaion_engine.pictures.letterbox import Letterbox


class PictureForm(Enum):
    """Form of a picture that an engine prefers; each is smaller than the one before.

    ARRAY: `ArrayPicture`.
    PIXELS: `PixelPicture`.
    JPEG: `JpegPicture` where the GPU decodes it, else `PixelPicture`.
    """

    ARRAY = 1
    PIXELS = 2
    JPEG = 3


@dataclass(frozen=True)
class ArrayPicture:
    """A picture as the network's input.

    Attributes:
        letterbox: How the upright picture is fitted into the network input.
        array: From `Letterbox.to_input`; by default float32 or float16 `[3, network_height, network_width]`, RGB 0…1.
        selection: Which boxes its caller wants; None: every box of the head.
    """

    letterbox: Letterbox
    array: NDArray[Any]
    selection: Selection | None = None


@dataclass(frozen=True)
class PixelPicture:
    """A picture as letterboxed pixels.

    Attributes:
        letterbox: How the upright picture is fitted into the network input.
        pixels: uint8 `[network_height, network_width, 3]`, RGB.
        selection: Which boxes its caller wants; None: every box of the head.
    """

    letterbox: Letterbox
    pixels: NDArray[np.uint8]
    selection: Selection | None = None


@dataclass(frozen=True)
class JpegPicture:
    """A picture as an encoded JPEG.

    Attributes:
        letterbox: How the upright picture is fitted into the network input.
        jpeg: The encoded picture, contiguous; hardware can decode it, and its limits are checked.
        orientation: EXIF orientation 1…8.
        selection: Which boxes its caller wants; None: every box of the head.
    """

    letterbox: Letterbox
    jpeg: bytes | memoryview
    orientation: int = 1
    selection: Selection | None = None


LoadablePicture = PixelPicture | JpegPicture
"""Pictures that a GPU engine loads itself; other engines take neither."""

PreparedPicture = ArrayPicture | LoadablePicture


class PreparedBatch:
    """Prepared pictures that run together.

    Attributes:
        pictures: In the order of their answers.
    """

    def __init__(self, pictures: Sequence[PreparedPicture]) -> None:
        """Stores the pictures; copies nothing yet."""
        self.pictures = pictures
        self._arrays: NDArray[Any] | None = None

    @property
    def loadable(self) -> list[LoadablePicture]:
        """The pictures that the GPU loads, in order."""
        return [picture for picture in self.pictures if not isinstance(picture, ArrayPicture)]

    @property
    def arrays(self) -> NDArray[Any] | None:
        """The `ArrayPicture`s stacked in order, e.g. `[k, 3, network_height, network_width]`; None if there are none.

        Stacking copies unless there is only one: read this property before the batch's turn.

        Raises:
            ValueError: Their sizes differ.
        """
        # No cached_property: until Python 3.12 it lets only one batch of the process stack at a time.
        arrays = [picture.array for picture in self.pictures if isinstance(picture, ArrayPicture)]
        if self._arrays is None and arrays:
            self._arrays = arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
        return self._arrays

    def __len__(self) -> int:
        return len(self.pictures)
