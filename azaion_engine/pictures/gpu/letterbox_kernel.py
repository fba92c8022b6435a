"""LetterboxKernel: letterboxes a batch of pictures on the GPU in one launch; GPU version of `Letterbox`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from azaion_engine.cuda.memory import DeviceBuffer
from azaion_engine.pictures.input_form import InputForm
from azaion_engine.pictures.letterbox import Letterbox

PTX = Path(__file__).with_name("letterbox.ptx")

RECORD = np.dtype(
    [
        ("pixels", np.uint64),
        ("step_x", np.int64),
        ("step_y", np.int64),
        ("scale_x", np.float64),
        ("scale_y", np.float64),
        ("width", np.int32),
        ("height", np.int32),
        ("resized_width", np.int32),
        ("resized_height", np.int32),
        ("left", np.int32),
        ("top", np.int32),
    ]
)
"""`struct Picture` of letterbox.cu."""
Record = tuple[int | float, ...]
"""Values of one `RECORD`, in its order."""

_BLOCK = (32, 8, 1)
"""Threads across and down; 32 across, so that a warp writes one piece of a row."""
RUN = 4
"""Adjacent pixels of a row that one thread computes: RUN of letterbox.cu."""

# EXIF orientation (EXIF 2.32, tag 0x0112) → (x is reversed in the stored picture, y is reversed, x and y are swapped).
_RUNS = {
    1: (False, False, False),
    2: (True, False, False),
    3: (True, True, False),
    4: (False, True, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}


class Window(NamedTuple):
    """A tile's place in its picture, in pixels of the upright picture.

    Attributes:
        x: Left edge of the tile.
        y: Upper edge of the tile.
        picture_width: Width of the picture.
        picture_height: Height of the picture.
    """

    x: int
    y: int
    picture_width: int
    picture_height: int


def make_record(
    address: int, pitch: int, orientation: int, letterbox: Letterbox, window: Window | None = None
) -> Record:
    """Makes a `RECORD`: where a picture, or a tile of one, lies on the GPU and where in the network input it goes.

    Args:
        address: GPU address of the picture's first stored pixel; RGB, 8 bits, interleaved.
        pitch: Bytes from one stored row to the next.
        orientation: EXIF orientation of the stored pixels, 1…8.
        letterbox: Letterbox of the upright picture or tile.
        window: Where the tile is, within the picture; None: the whole picture is meant.
    """
    x, y, width, height = window or (0, 0, letterbox.picture_width, letterbox.picture_height)
    back_x, back_y, turned = _RUNS[orientation]
    step_x, step_y = (pitch, 3) if turned else (3, pitch)
    if back_x:
        address, step_x = address + (width - 1) * step_x, -step_x
    if back_y:
        address, step_y = address + (height - 1) * step_y, -step_y
    return (
        address + x * step_x + y * step_y,
        step_x,
        step_y,
        # The inverse of an inverse, as cv2.resize computes it: a direct quotient may round differently.
        1 / (letterbox.resized_width / letterbox.picture_width),
        1 / (letterbox.resized_height / letterbox.picture_height),
        letterbox.picture_width,
        letterbox.picture_height,
        letterbox.resized_width,
        letterbox.resized_height,
        letterbox.pad_left,
        letterbox.pad_top,
    )


@lru_cache(maxsize=1024)  # cameras send one size, which has some hundred tiles
def pack_record(pitch: int, orientation: int, letterbox: Letterbox, window: Window | None = None) -> bytes:
    """Packs the `RECORD` of a picture whose first stored pixel is at address 0: add the real one to `pixels`."""
    return np.array([make_record(0, pitch, orientation, letterbox, window)], RECORD).tobytes()


class LetterboxKernel:
    """Kernel of letterbox.ptx for one input; used by one thread at a time, in the context it was made in."""

    def __init__(self, driver: Any, dtype: np.dtype[Any], form: InputForm, stream: Any) -> None:
        """Loads the kernel; the driver compiles it for its GPU.

        Args:
            driver: The module `pycuda.driver`.
            dtype: Element type of the network's input, float32 or float16.
            form: What the network takes; `form.on_gpu` holds.
            stream: The `pycuda.driver.Stream` that `launch` will run on.

        Raises:
            pycuda.driver.Error: The driver does not take the PTX, or not enough memory.
        """
        self._module = driver.module_from_buffer(PTX.read_bytes() + b"\0")
        self._tables: DeviceBuffer | None = None
        self._more: tuple[Any, ...] = ()
        name = "letterbox"
        if not form.is_default:
            name = "letterbox_form"
            self._tables = DeviceBuffer(driver, (3, 256), np.dtype(np.float32))
            self._tables.host[:] = form.tables
            self._tables.upload(self._tables.host, stream)
            self._more = (np.uint64(self._tables.address), np.int32(form.colour == "bgr"))
        self._function = self._module.get_function(f"{name}_{dtype.name}")

    def free(self) -> None:
        """Frees memory; a second call does nothing."""
        tables, self._tables = self._tables, None
        if tables is not None:
            tables.free()

    def launch(self, records: int, count: int, network_input: int, size: tuple[int, int], stream: Any) -> None:
        """Starts the kernel that fills the first rows of the network input.

        Args:
            records: GPU address of an array of `RECORD`s.
            count: Number of records.
            network_input: GPU address of `[≥ count, 3, height, width]`.
            size: (height, width) of the network input, in pixels.
            stream: The `pycuda.driver.Stream` to run on.
        """
        height, width = size
        self._function(
            np.uint64(records),
            np.uint64(network_input),
            np.int32(width),
            np.int32(height),
            *self._more,
            block=_BLOCK,
            grid=(-(-width // (_BLOCK[0] * RUN)), -(-height // _BLOCK[1]), count),
            stream=stream,
        )
