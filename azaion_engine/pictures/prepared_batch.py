"""PreparedBatch: prepared pictures that run together, their arrays already in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azaion_engine.pictures.prepared import PreparedPicture


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
