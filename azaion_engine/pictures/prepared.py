"""PreparedPicture: a picture in the form that an engine takes, and what its caller wants of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # engines import this module and need no OpenCV
    from azaion_engine.pictures.letterbox import Letterbox


MOST_BOXES = 300
"""Boxes a picture by default, as Ultralytics' `max_det`."""

LEAST_CONFIDENCE = 0.001
"""Threshold for pictures whose caller names none yet: boxes below it are noise in every detector."""


@dataclass(frozen=True)
class Selection:
    """What a caller wants of one picture; only heads that suppress overlapping boxes themselves follow it.

    Attributes:
        confidence: Boxes at or above it are kept, 0…1.
        iou: Boxes that overlap a more confident one by more than this are dropped, 0…1; None: as the head's family.
        max_detections: Largest number of boxes, the most confident ones.
        class_agnostic: Whether a box also suppresses boxes of other classes.
    """

    confidence: float = LEAST_CONFIDENCE
    iou: float | None = None
    max_detections: int = MOST_BOXES
    class_agnostic: bool = False


class PictureForm(Enum):
    """Form of a picture that an engine prefers; each is smaller than the one before.

    ARRAY: `ArrayPicture`.
    PIXELS: `PixelPicture`.
    JPEG: `JpegPicture` where the GPU decodes it, else `PixelPicture`; `TilePicture` if the engine holds the whole one.
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


def stored_size(picture: JpegPicture) -> tuple[int, int]:
    """Returns (width, height) before the orientation is applied."""
    width, height = picture.letterbox.picture_width, picture.letterbox.picture_height
    return (height, width) if picture.orientation >= 5 else (width, height)


@dataclass(frozen=True)
class HeldPicture:
    """A picture whose pixels an engine holds, decoded, until it is released.

    Attributes:
        number: Tells it from every other one.
        release: Gives it back; a second call does nothing. Its tiles that run meanwhile still see it.
    """

    number: int
    release: Callable[[], None]


@dataclass(frozen=True)
class HeldTile:
    """A rectangle of a held picture, in pixels of the upright picture.

    Attributes:
        number: That of the picture.
        x: Left edge, 0 or greater.
        y: Upper edge, 0 or greater.
        width: At least 1.
        height: At least 1.
    """

    number: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class TilePicture:
    """A rectangle of a picture that the engine holds.

    Attributes:
        letterbox: How the tile is fitted into the network input.
        tile: Where it is.
        selection: Which boxes its caller wants; None: every box of the head.
    """

    letterbox: Letterbox
    tile: HeldTile
    selection: Selection | None = None


LoadablePicture = PixelPicture | JpegPicture | TilePicture
"""Pictures that a GPU engine loads itself; other engines take none of them."""

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
