"""Letterbox: the transform of a picture to the network input; `mapping` has the way back for boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import InvalidTensorError
from azaion_engine.pictures.input_form import DEFAULT_FORM, Fit, InputForm, Resampling
from azaion_engine.pictures.mapping import columns_to_pictures
from azaion_engine.pictures.resizing import resize_antialiased

PAD_VALUE = 114
"""Grey value of the border, 0…255: the same as in Ultralytics' training."""

_STRIP_PIXELS = 1 << 16
"""Pixels that are converted at a time: they stay in a core's cache. From four times as many on, OpenCV hands parts to
threads, which spin while they wait for each other (modules/core/src/lut.cpp)."""


@dataclass(frozen=True)
class Letterbox:
    """Fits a picture into the network's size; by default with its aspect ratio, centred on a grey canvas.

    The default equals Ultralytics' `LetterBox` (centred, enlarging allowed) to the pixel. For the way back,
    Ultralytics divides both axes by the unrounded gain. Here each axis is divided by its actual scale, so the picture's
    border maps onto itself even where rounding to whole pixels changed the aspect ratio (usually by up to half a
    network pixel, by far more for a 1-pixel-wide picture). `top_left` is YOLOX's: sizes are truncated, and boxes are
    divided by the unrounded scale, as in YOLOX's training (yolox/data/data_augment.py, `preproc`).

    Attributes:
        picture_width: Width of the upright picture, in pixels.
        picture_height: Height of the upright picture, in pixels.
        network_width: Width of the network input, in pixels.
        network_height: Height of the network input, in pixels.
        scale: Network pixels per picture pixel before rounding to whole pixels; the smaller one if stretched.
        resized_width: Width of the picture on the canvas, in pixels, at least 1.
        resized_height: Height of the picture on the canvas, in pixels, at least 1.
        pad_left: Border to the left, in whole pixels.
        pad_top: Border above, in whole pixels.
        kind: How the picture is fitted.
    """

    picture_width: int
    picture_height: int
    network_width: int
    network_height: int
    scale: float
    resized_width: int
    resized_height: int
    pad_left: int
    pad_top: int
    kind: Fit = "letterbox"

    @classmethod
    @lru_cache(maxsize=256)  # cameras send one size; the objects are immutable
    def fit(
        cls, picture_width: int, picture_height: int, network_height: int, network_width: int, kind: Fit = "letterbox"
    ) -> Letterbox:
        """Computes the transform; sizes are in pixels, at least 1.

        Note the order: pictures are width × height, networks are (height, width) as `get_input_shape` gives them.

        Raises:
            InvalidTensorError: A size is below 1.
        """
        if min(picture_width, picture_height, network_width, network_height) < 1:
            raise InvalidTensorError(
                f"sizes must be at least 1: picture {picture_width}×{picture_height}, "
                f"network {network_width}×{network_height}"
            )
        scale = min(network_height / picture_height, network_width / picture_width)
        if kind == "stretch":
            resized_width, resized_height = network_width, network_height
        else:
            whole = round if kind == "letterbox" else int
            resized_width = min(max(whole(picture_width * scale), 1), network_width)
            resized_height = min(max(whole(picture_height * scale), 1), network_height)
        centred = kind == "letterbox"
        return cls(
            picture_width=picture_width,
            picture_height=picture_height,
            network_width=network_width,
            network_height=network_height,
            scale=scale,
            resized_width=resized_width,
            resized_height=resized_height,
            # An odd border is one pixel wider to the right and below.
            pad_left=round((network_width - resized_width) / 2 - 0.1) if centred else 0,
            pad_top=round((network_height - resized_height) / 2 - 0.1) if centred else 0,
            kind=kind,
        )

    @property
    def scale_x(self) -> float:
        """Horizontal network pixels per picture pixel, for boxes."""
        return self.scale if self.kind == "top_left" else self.resized_width / self.picture_width

    @property
    def scale_y(self) -> float:
        """Vertical network pixels per picture pixel, for boxes."""
        return self.scale if self.kind == "top_left" else self.resized_height / self.picture_height

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resizes and pads a picture for display; `to_input` makes the network input.

        Args:
            picture: uint8 `[picture_height, picture_width, 3]`.

        Returns:
            uint8 `[network_height, network_width, 3]`, a new array with the channels in the same order.

        Raises:
            InvalidTensorError: The picture is not uint8 or not of this transform's size.
        """
        canvas = np.full((self.network_height, self.network_width, 3), PAD_VALUE, np.uint8)
        rows, columns = self._inside()
        canvas[rows, columns] = self._resize(picture)
        return canvas

    def to_input(
        self, picture: NDArray[np.uint8], out: NDArray[Any] | None = None, form: InputForm = DEFAULT_FORM
    ) -> NDArray[Any]:
        """Resizes and pads a picture into the network's input; the slow part releases the GIL.

        Args:
            picture: uint8 `[picture_height, picture_width, 3]`, RGB.
            out: The array to write into, e.g. one row of a batch; every element is overwritten.
            form: What the network takes; its `fit` is this transform's already.

        Returns:
            `out`, or a new array: `form.array_shape` of `form.array_dtype`, by default float32
            `[3, network_height, network_width]`, RGB planes, values in 0…1.

        Raises:
            InvalidTensorError: The picture or `out` has the wrong dtype, size or memory layout.
        """
        shape, dtype = form.array_shape(self.network_height, self.network_width), form.array_dtype
        if out is None:
            out = np.empty(shape, dtype)
        elif out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
            raise InvalidTensorError(
                f"out must be contiguous writable {dtype} {list(shape)}, given {out.dtype} {list(out.shape)}"
            )
        resized = self._resize(picture, form.resampling)
        rows, columns = self._inside()
        planes = out if form.layout == "nchw" else out.transpose(2, 0, 1)
        if resized.shape[:2] != planes.shape[1:]:
            border = form.values_of(PAD_VALUE)
            planes[:, : rows.start] = border
            planes[:, rows.stop :] = border
            planes[:, rows, : columns.start] = border
            planes[:, rows, columns.stop :] = border
        inside = planes[:, rows, columns]
        step = max(1, _STRIP_PIXELS // resized.shape[1])
        for top in range(0, len(resized), step):
            channels = cv2.split(resized[top : top + step])
            for plane, channel, table in zip(
                inside[:, top : top + step],
                channels if form.colour == "rgb" else channels[::-1],
                form.tables,
                strict=True,
            ):
                if form.layout == "nchw":
                    # Faster than NumPy's transpose, astype and divide, cv2.dnn.blobFromImage, or split and NumPy
                    # multiply. OpenCV fills dst in place only if it has the right type and shape; else it allocates.
                    cv2.LUT(channel, table, dst=plane)
                else:
                    plane[...] = cv2.LUT(channel, table)
        return out

    def boxes_to_picture(self, boxes: NDArray[Any]) -> NDArray[np.float32]:
        """Maps boxes from the network input back onto the picture and clips them to it.

        Args:
            boxes: `[n, 4]` of x1, y1, x2, y2 in pixels of the network input.

        Returns:
            float32 `[n, 4]` in pixels of the upright picture, x in 0…width, y in 0…height, a new array.
        """
        columns = np.asarray(boxes).T
        return np.ascontiguousarray(columns_to_pictures(columns, self._steps[:, :, None]).T)

    def boxes_to_network(self, boxes: NDArray[Any]) -> NDArray[np.float32]:
        """Maps boxes from the picture onto the network input: the inverse of `boxes_to_picture`, without clipping.

        Args:
            boxes: `[n, 4]` of x1, y1, x2, y2 in pixels of the upright picture.

        Returns:
            float32 `[n, 4]` in pixels of the network input, a new array.
        """
        padding, scales, _ = self._steps
        network: NDArray[np.float64] = np.asarray(boxes, np.float64) * scales + padding
        return network.astype(np.float32)

    @cached_property
    def _steps(self) -> NDArray[np.float64]:
        """Border, scale and picture size, each for x1, y1, x2, y2."""
        return np.array(
            [
                [self.pad_left, self.pad_top] * 2,
                [self.scale_x, self.scale_y] * 2,
                [self.picture_width, self.picture_height] * 2,
            ],
            np.float64,
        )

    def _inside(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the picture covers."""
        return (
            slice(self.pad_top, self.pad_top + self.resized_height),
            slice(self.pad_left, self.pad_left + self.resized_width),
        )

    def _resize(self, picture: NDArray[np.uint8], resampling: Resampling = "linear") -> NDArray[np.uint8]:
        expected = (self.picture_height, self.picture_width, 3)
        if picture.dtype != np.uint8 or picture.shape != expected:
            raise InvalidTensorError(
                f"expected a picture uint8 {list(expected)}, given {picture.dtype} {list(picture.shape)}"
            )
        if picture.strides[1:] != (3, 1) or picture.strides[0] < 0:  # OpenCV takes a tile of a larger picture as it is
            picture = np.ascontiguousarray(picture)
        if (self.resized_width, self.resized_height) == (self.picture_width, self.picture_height):
            return picture
        if resampling == "antialiased":
            return resize_antialiased(picture, self.resized_width, self.resized_height)
        resized: NDArray[np.uint8] = cv2.resize(
            picture, (self.resized_width, self.resized_height), interpolation=cv2.INTER_LINEAR
        )
        return resized


def steps_of(letterboxes: Sequence[Letterbox], picture: NDArray[np.intp]) -> NDArray[np.float64]:
    """Returns the numbers of the way back to the pictures, as the functions of `mapping` take them.

    Args:
        letterboxes: One for each picture.
        picture: `[n]`: index of each box's picture.

    Returns:
        float64 `[3, 4, n]`, or `[3, 4, 1]` if all pictures have the same letterbox: border, scale and picture size,
        each for x1, y1, x2, y2.
    """
    first = letterboxes[0]
    if all(letterbox is first for letterbox in letterboxes):  # one picture, or a camera's
        return first._steps[:, :, None]
    steps: NDArray[np.float64] = np.array([letterbox._steps for letterbox in letterboxes])[picture].transpose(1, 2, 0)
    return steps
