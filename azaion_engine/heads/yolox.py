"""YOLOX heads: decoded boxes, or offsets and logarithms on a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from azaion_engine.heads.yolo import AnchorYoloHead

STRIDES = (8, 16, 32)


class YoloxHead(AnchorYoloHead):
    """YOLOX's decoded head (`--decode_in_inference`): `[batch, anchors, 5 + classes]`, boxes in network pixels."""

    name = "yolox"


class YoloxGridHead(YoloxHead):
    """YOLOX's default head: boxes as offsets from their grid cell and logarithms of sizes, in strides."""

    name = "yolox_grid"
    grid = True

    def _boxes(
        self, values: NDArray[np.float32], anchors: NDArray[np.intp], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        # YOLOX, yolox/utils/demo_utils.py: (xy + grid) × stride, exp(wh) × stride; rows of the finest grid first.
        grids = [(size[0] // stride, size[1] // stride, stride) for stride in STRIDES]
        cells = np.concatenate([np.indices((height, width)).reshape(2, -1)[::-1] for height, width, _ in grids], axis=1)
        strides = np.repeat(STRIDES, [height * width for height, width, _ in grids]).astype(np.float32)[anchors]
        decoded = np.concatenate(
            [(values[:2] + cells[:, anchors].astype(np.float32)) * strides, np.exp(values[2:]) * strides]
        )
        return super()._boxes(decoded, anchors, size)
