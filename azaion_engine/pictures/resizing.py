"""Resizing: bilinear resampling that averages where it shrinks, as torchvision's `Resize` does."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

_MOST_BITS = 22
"""Bits of a weight at most, as in PyTorch's kernel."""

_MOST_SHRINKING = 32
"""Times by which this filter shrinks a side; OpenCV averages what is longer before. Else work and memory grew with
the longer side times the result's, not with the pixels: 33 by 200,000 pixels took nine seconds and 3 GB."""

_COLUMNS = 4096
"""Numbers of a row that are resampled at a time, which bounds the memory of the sums."""


def resize_antialiased(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resizes with a triangle filter as wide as two pixels of the result, columns first, then rows.

    Equals PyTorch's `interpolate(mode="bilinear", antialias=True)` of uint8, which rounds between the passes and has
    weights of 16 bits (aten/src/ATen/native/cpu/UpSampleKernel.cpp). Pillow's result differs by one grey level at most,
    by two where a side shrinks to less than a 32nd.

    Args:
        picture: uint8 `[height, width, 3]`.
        width: Of the result, in pixels.
        height: Of the result, in pixels.

    Returns:
        uint8 `[height, width, 3]`, a new array.
    """
    most = (min(picture.shape[1], _MOST_SHRINKING * width), min(picture.shape[0], _MOST_SHRINKING * height))
    if most != (picture.shape[1], picture.shape[0]):
        picture = np.asarray(cv2.resize(picture, most, interpolation=cv2.INTER_AREA), np.uint8)
    narrow = _shrink_rows(cv2.transpose(picture), width)
    return _shrink_rows(cv2.transpose(narrow), height)


def resizing_bytes(picture_width: int, picture_height: int, width: int, height: int) -> int:
    """Returns how much memory `resize_antialiased` takes at most besides the picture, in bytes.

    Args:
        picture_width: Of the picture, in pixels.
        picture_height: Of the picture, in pixels.
        width: Of the result, in pixels.
        height: Of the result, in pixels.
    """
    columns, rows = min(picture_width, _MOST_SHRINKING * width), min(picture_height, _MOST_SHRINKING * height)
    averaged = 3 * columns * rows if (columns, rows) != (picture_width, picture_height) else 0
    turned, narrow, result = 3 * columns * rows, 6 * width * rows, 6 * width * height
    sums = 16 * _COLUMNS * max(width, height)  # two of int32, and the rows that are added
    weights = 40 * (2 * _MOST_SHRINKING + 2) * max(width, height)
    return averaged + turned + narrow + result + sums + weights


def _shrink_rows(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resamples the first axis to a size."""
    first, weights, bits = _weights(len(picture), size)
    rows = picture.reshape(len(picture), -1)
    result = np.empty((size, rows.shape[1]), np.uint8)
    for start in range(0, rows.shape[1], _COLUMNS):
        columns = rows[:, start : start + _COLUMNS]
        total = np.full((size, columns.shape[1]), 1 << (bits - 1), np.int32)
        term = np.empty_like(total)
        for tap, weight in enumerate(weights.T):
            # Rows beyond the last have no weight.
            np.multiply(columns[np.minimum(first + tap, len(rows) - 1)], weight[:, None], out=term, casting="unsafe")
            total += term
        total >>= bits
        result[:, start : start + _COLUMNS] = np.clip(total, 0, 255, out=total)
    return result.reshape(size, *picture.shape[1:])


@lru_cache(maxsize=64)
def _weights(given: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.int32], int]:
    """Returns the first row of each result, its weights `[wanted, taps]`, and the weights' fractional bits."""
    scale = given / wanted
    reach = max(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.intp), 0)
    ends = np.minimum((centres + reach + 0.5).astype(np.intp), given)
    rows = first[:, None] + np.arange(int((ends - first).max()))
    shares = np.maximum(1 - np.abs(rows - centres[:, None] + 0.5) / reach, 0)
    shares[rows >= ends[:, None]] = 0
    shares /= shares.sum(axis=1, keepdims=True)
    # The most bits with which the largest weight still fits into 16 bits with its sign.
    bits = next((b for b in range(_MOST_BITS) if 0.5 + shares.max() * 2 ** (b + 1) >= 2**15), _MOST_BITS)
    return first, (shares * 2**bits + 0.5).astype(np.int32), bits
