"""InputForm: how a network wants its pictures: fit, colour order and values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Colour = Literal["rgb", "bgr"]
Fit = Literal["letterbox", "top_left", "stretch"]
Layout = Literal["nchw", "nhwc"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels in 0…1, RGB: torchvision's and the transformers' default."""


@dataclass(frozen=True)
class InputForm:
    """How a network wants its pictures; the default is Ultralytics'.

    A value of the input is `(pixel / 255 × scale − mean) / std`.

    Attributes:
        colour: Order of the channels.
        scale: Value of a white pixel: 1 for 0…1, 255 for 0…255.
        mean: Of each channel in the network's order, in units of `scale`.
        std: Likewise, above 0.
        fit: `letterbox`: aspect ratio kept, centred on grey; `top_left`: the same, the border only to the right and
            below; `stretch`: each side resized to the network's.
        layout: Order of the input's dimensions: batch, channels, height and width, or channels last.
    """

    colour: Colour = "rgb"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Fit = "letterbox"
    layout: Layout = "nchw"

    @cached_property
    def tables(self) -> NDArray[np.float32]:
        """Input value of each pixel value: float32 `[3, 256]`, channels in the network's order."""
        # Unit values as float32 division gives them, which is how the networks were trained; then in double precision.
        unit = np.arange(256, dtype=np.float32) / np.float32(255)
        if self.scale == 255:
            unit = np.arange(256, dtype=np.float32)
        elif self.scale != 1:
            unit = unit * np.float32(self.scale)
        return np.stack(
            [((unit - mean) / std).astype(np.float32) for mean, std in zip(self.mean, self.std, strict=True)]
        )

    def __str__(self) -> str:
        values = f"0…{self.scale:g}"
        if (self.mean, self.std) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
            values += f", minus {list(self.mean)}, divided by {list(self.std)}"
        return f"{self.colour.upper()} {values}, {self.fit.replace('_', ' ')}, {self.layout.upper()}"


DEFAULT_FORM = InputForm()
