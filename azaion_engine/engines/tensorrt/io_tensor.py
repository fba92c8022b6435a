"""IoTensor: an input or output of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class IoTensor:
    """One input or output of a deserialised engine.

    Attributes:
        name: Name of the tensor.
        is_input: Whether it is an input of the network.
        dtype: Element type.
        shape: Dimensions, -1 for dynamic ones.
        profile: (min, opt, max) shapes of the only optimisation profile; empty for outputs.
    """

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    profile: tuple[tuple[int, ...], ...] = ()
