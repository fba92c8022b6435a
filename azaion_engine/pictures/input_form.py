"""InputForm: how a network wants its pictures: colours, scale, normalisation, fit, layout and element type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Colour = Literal["rgb", "bgr"]
Fit = Literal["letterbox", "top_left", "stretch"]
Layout = Literal["nchw", "nhwc"]
InputDtype = Literal["float32", "float16", "uint8"]
Resampling = Literal["linear", "antialiased"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB values in 0…1 (torchvision's documentation of its models)."""


@dataclass(frozen=True)
class InputForm:
    """How a network wants its pictures; the default is Ultralytics'.

    A value v of 0…255 becomes `(v * scale - mean) / std`.

    Attributes:
        colour: Order of the channels.
        scale: Factor of the pixels' values: 1/255 for 0…1, 1 for 0…255.
        mean: Subtracted from each channel after scaling, in the network's channel order.
        std: Divides each channel after that, likewise.
        fit: `letterbox`: aspect kept, centred on grey; `top_left`: aspect kept, at the upper left of grey; `stretch`:
            each side scaled to the network's.
        layout: `nchw`: planes; `nhwc`: interleaved channels.
        dtype: Element type of the network input; float16 is cast by the engine.
        resampling: `linear`: OpenCV's; `antialiased`: torchvision's, which averages where it shrinks.
    """

    colour: Colour = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Fit = "letterbox"
    layout: Layout = "nchw"
    dtype: InputDtype = "float32"
    resampling: Resampling = "linear"

    @property
    def is_default(self) -> bool:
        """Whether pictures become centred RGB planes in 0…1."""
        return self == InputForm(dtype=self.dtype) and self.dtype != "uint8"

    @property
    def on_gpu(self) -> bool:
        """Whether the GPU's letterbox kernel makes it: planes of floats, resized without averaging."""
        return self.layout == "nchw" and self.dtype != "uint8" and self.resampling == "linear"

    @cached_property
    def array_dtype(self) -> np.dtype[np.generic]:
        """Element type of prepared arrays: uint8, else float32."""
        return np.dtype(np.uint8 if self.dtype == "uint8" else np.float32)

    @cached_property
    def tables(self) -> tuple[NDArray[np.generic], ...]:
        """The network's value for each value 0…255, one table of 256 per channel, in the network's channel order."""
        if self.dtype == "uint8":
            return (np.arange(256, dtype=np.uint8),) * 3
        # Division by 255 is correctly rounded; multiplication by the rounded 1/255 would not be.
        values = np.arange(256, dtype=np.float32)
        if self.scale == 1 / 255:
            values = values / np.float32(255)
        elif self.scale != 1:
            values = values * np.float32(self.scale)
        if self.mean == (0, 0, 0) and self.std == (1, 1, 1):
            return (values,) * 3
        return tuple(
            ((values - np.float32(mean)) / np.float32(std)).astype(np.float32)
            for mean, std in zip(self.mean, self.std, strict=True)
        )

    def values_of(self, grey: int) -> Any:
        """Returns the network's values of a grey pixel, to be assigned to planes `[3, …, …]`."""
        first, second, third = (table[grey] for table in self.tables)
        return first if first == second == third else np.array([first, second, third]).reshape(3, 1, 1)

    def array_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape of one prepared picture, without the batch."""
        return (3, height, width) if self.layout == "nchw" else (height, width, 3)

    def describe(self) -> str:
        """One line, e.g. `RGB 0..1, letterbox`."""
        span = {1 / 255: "0..1", 1.0: "0..255"}.get(self.scale, f"times {self.scale:g}")
        words = f"{self.colour.upper()} {span}"
        if self.mean != (0, 0, 0) or self.std != (1, 1, 1):
            mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
            words += f" minus ({mean}) over ({std})"
        fit = self.fit.replace("_", "-") + " antialiased" * (self.resampling == "antialiased")
        return f"{words}, {fit}, {self.layout.upper()} {self.dtype}"


DEFAULT_FORM = InputForm()
"""Ultralytics' form."""


def layout_of(shape: tuple[int, ...], wish: Layout | None = None) -> Layout:
    """Returns the layout of a picture input, `[batch, 3, height, width]` or `[batch, height, width, 3]`."""
    if shape[1] == 3 or shape[3] != 3:
        return "nchw" if shape[1] == 3 else wish or "nchw"
    return "nhwc"
