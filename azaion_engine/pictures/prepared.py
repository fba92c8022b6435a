"""PreparedPicture: a picture on its way to an engine, in the form that this engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # engines know this module, and need no OpenCV
    from azaion_engine.pictures.letterbox import Letterbox


class PictureForm(Enum):
    """What an engine takes a picture as; each one travels lighter than the one before.

    ARRAY: float32 `[3, height, width]`, through `InferenceEngine.run`.
    PIXELS: uint8 `[height, width, 3]` of the network's size, through `InferenceEngine.run_pictures`.
    JPEG: the encoded bytes where the GPU decodes them, else PIXELS, through the same.
    """

    ARRAY = 1
    PIXELS = 2
    JPEG = 3


@dataclass(frozen=True)
class PreparedPicture:
    """A picture ready for the engine; exactly one of `tensor`, `pixels` and `jpeg` is there.

    Attributes:
        letterbox: How the upright picture is fitted into the network input.
        tensor: float32 `[3, network_height, network_width]`, RGB in 0…1.
        pixels: uint8 `[network_height, network_width, 3]`, RGB, letterboxed.
        jpeg: An encoded JPEG that hardware can decode, limits checked.
        orientation: EXIF orientation 1…8 of `jpeg`.
    """

    letterbox: Letterbox
    tensor: NDArray[np.float32] | None = None
    pixels: NDArray[np.uint8] | None = None
    jpeg: bytes | None = None
    orientation: int = 1


@dataclass(frozen=True)
class PreparedBatch:
    """Pictures ready for the engine; made before their turn, as putting arrays together takes time.

    Attributes:
        pictures: In the order of their answers.
        tensors: float32 `[k, 3, network_height, network_width]` of those that have a tensor, in the same order; None
            where none has.
    """

    pictures: Sequence[PreparedPicture]
    tensors: NDArray[np.float32] | None

    @classmethod
    def of(cls, pictures: Sequence[PreparedPicture]) -> PreparedBatch:
        """Puts the pictures' arrays together; a lone one is not copied."""
        tensors = [picture.tensor for picture in pictures if picture.tensor is not None]
        if not tensors:
            return cls(pictures, None)
        return cls(pictures, tensors[0][None] if len(tensors) == 1 else np.stack(tensors))
