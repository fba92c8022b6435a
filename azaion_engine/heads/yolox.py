"""YOLOX heads: `[b, A, 5+nc]`, decoded to pixels or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import Outputs, RawLayout
from azaion_engine.heads.yolo import ObjectnessYolo, reaches_across

_FOLLOWS = 0.9
"""Correlation of centres with their cells: they lie within a few strides of them."""


@dataclass(frozen=True)
class Yolox(ObjectnessYolo):
    """YOLOX's head as exported with `--decode_in_inference`: YOLOv5's columns, one candidate per cell."""

    name = "yolox"


@dataclass(frozen=True)
class UndecodedYolox(ObjectnessYolo):
    """YOLOX's head as exported by default: offsets in cells and logarithms of sizes.

    Centre = (offset + cell) * stride, size = exp(value) * stride (Megvii-BaseDetection/YOLOX, `yolo_head.py`,
    `decode_outputs`).

    Attributes:
        strides: Pixels per cell of each level.
    """

    strides: tuple[int, ...] = (8, 16, 32)
    name = "yolox_raw"

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        [one] = outputs[self.output][:1]
        if reaches_across(one, size):
            return "centres are in pixels"
        if _follows_grid(one[:, :2], size, self.strides):
            return "columns 0 and 1 follow the cells, so they are centres in 0 to 1"
        return super().contradicts(outputs, size)

    def raw_layout(self) -> RawLayout | None:
        """See `Head.raw_layout`."""
        plain = super().raw_layout()
        return replace(plain, grid=True) if plain is not None and self.strides == (8, 16, 32) else None

    def _decoded(self, output: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        output = super()._decoded(output, size)
        cells, strides = _grid(size, self.strides)
        if output.shape[1] != len(cells):
            raise ModelError(f"output {self.output!r} has {output.shape[1]} candidates, expected {len(cells)}")
        decoded: NDArray[np.float32] = output.copy()
        decoded[:, :, :2] = (output[:, :, :2] + cells) * strides
        decoded[:, :, 2:4] = np.exp(output[:, :, 2:4]) * strides
        return decoded


def _follows_grid(centres: NDArray[np.float32], size: tuple[int, int], strides: tuple[int, ...]) -> bool:
    """Whether values `[A, 2]` grow with x and y of their cells, as centres do and offsets from the cells do not."""
    cells, steps = _grid(size, strides)
    if len(cells) != len(centres):
        return False
    with np.errstate(invalid="ignore", divide="ignore"):  # values that are all the same follow nothing
        return all(np.corrcoef(centres[:, axis], (cells * steps)[:, axis])[0, 1] > _FOLLOWS for axis in (0, 1))


@lru_cache(maxsize=8)
def _grid(size: tuple[int, int], strides: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns x, y of each cell `[A, 2]` and its stride `[A, 1]`, level by level, row by row."""
    cells, steps = [], []
    for stride in strides:
        ys, xs = np.mgrid[: size[0] // stride, : size[1] // stride].reshape(2, -1)
        cells.append(np.stack([xs, ys], axis=1))
        steps.append(np.full((len(xs), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)
