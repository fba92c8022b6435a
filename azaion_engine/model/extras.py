"""Extras: the values of inputs beside the picture, which are the same for every picture of the network's size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.heads.base import DYNAMIC, TARGET_SIZES, TensorInfo

NAMES = (TARGET_SIZES, "im_shape", "scale_factor", "pixel_mask")
"""Known inputs: RT-DETRv2's and D-FINE's size that boxes are scaled to, width first; PaddleDetection's size of the
network input, height first, and its scale to the picture, by which boxes are divided (`deploy/python/infer.py`); and
the mask of DETR in transformers, 1 where there is picture and not padding."""

_DTYPES = ("int64", "int32", "float32", "float16", "bool")


def is_known(tensor: TensorInfo) -> bool:
    """Whether an input is one of those that `value_of` can fill."""
    dimensions = 3 if tensor.name == "pixel_mask" else 2
    pairs = tensor.shape[-1] in (2, DYNAMIC) if tensor.shape else False
    return (
        tensor.name in NAMES
        and tensor.dtype in _DTYPES
        and len(tensor.shape) == dimensions
        and (dimensions == 3 or pairs)
    )


def value_of(tensor: TensorInfo, height: int, width: int) -> NDArray[Any]:
    """Returns the value of a known input for one picture, so that boxes come in pixels of the network input.

    Args:
        tensor: The input.
        height: Of the network input, in pixels.
        width: Likewise.

    Returns:
        `[1, 2]`, or `[1, height, width]` of a mask.
    """
    dtype = np.dtype(tensor.dtype)
    if tensor.name == "pixel_mask":
        mask = tuple(
            size if given < 0 else given for given, size in zip(tensor.shape[1:], (height, width), strict=True)
        )
        return np.ones((1, *mask), dtype)
    values = {TARGET_SIZES: (width, height), "im_shape": (height, width), "scale_factor": (1, 1)}
    return np.array([values[tensor.name]], dtype)
