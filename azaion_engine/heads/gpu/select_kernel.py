"""SelectKernel: threshold and suppression of a batch on the GPU; GPU version of the YOLO heads' `rows`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.memory import DeviceBuffer, DeviceMemory
from azaion_engine.heads.base import RawLayout, wanted
from azaion_engine.heads.oriented_suppression import distance_at
from azaion_engine.pictures.prepared import Selection

PTX = Path(__file__).with_name("select.ptx")

LAYOUT = np.dtype(
    [
        ("picture", np.int64),
        ("anchor", np.int32),
        ("value", np.int32),
        ("anchors", np.int32),
        ("classes", np.int32),
        ("objectness", np.int32),
        ("grid", np.int32),
        ("height", np.int32),
        ("width", np.int32),
        ("capacity", np.int32),
        ("most", np.int32),
        ("class_offset", np.int32),
        ("keypoints", np.int32),
        ("point_values", np.int32),
    ],
    align=True,
)
"""`struct Layout` of select.cu."""

WANTED = np.dtype([("confidence", np.float32), ("iou", np.float32), ("most", np.int32), ("agnostic", np.int32)])
"""`struct Wanted` of select.cu."""

COLUMNS, ORIENTED_COLUMNS = 6, 7
MOVED, MOMENTS = 4, 8
"""Floats that suppression keeps of a candidate, of an upright one and of an oriented one."""

THREADS = 256
"""Threads of a block: THREADS of select.cu."""


def make_layout(raw: RawLayout, shape: tuple[int, ...], size: tuple[int, int], most: int) -> NDArray[Any]:
    """Makes a `LAYOUT`.

    Args:
        raw: What the values mean.
        shape: Of the output, `[batch, …, …]`.
        size: (height, width) of the network input, in pixels.
        most: Maximum number of rows of a picture.
    """
    _, first, second = shape
    anchors, values = (first, second) if raw.anchors_first else (second, first)
    steps = (values, 1) if raw.anchors_first else (1, anchors)
    capacity = 1 << max(anchors - 1, 1).bit_length()
    flags = (int(raw.objectness), int(raw.grid))
    points = (0, 0) if raw.keypoints is None else (raw.keypoints.count, raw.keypoints.values)
    return np.array(
        [(anchors * values, *steps, anchors, raw.classes, *flags, *size, capacity, most, raw.class_offset, *points)],
        LAYOUT,
    )


def make_wanted(raw: RawLayout, selections: Sequence[Selection | None]) -> NDArray[Any]:
    """Makes a `WANTED` for each picture."""
    overlaps = [raw.iou if one.iou is None else one.iou for one in map(wanted, selections)]
    limits = map(distance_at, overlaps) if raw.oriented else overlaps
    return np.array(
        [
            (one.confidence, limit, one.max_detections, one.class_agnostic)
            for one, limit in zip(map(wanted, selections), limits, strict=True)
        ],
        WANTED,
    )


class SelectKernel:
    """Kernels of select.ptx with their memory; used by one thread at a time, in the context they were made in.

    Everything lies at fixed addresses, what is wanted of each picture too: `enqueue` can be recorded as a CUDA graph.

    Attributes:
        rows: What `enqueue` made: float32 `[batch, most, columns]` as `Head.rows` describes them, zeros after a
            picture's last row.
    """

    def __init__(
        self, driver: Any, raw: RawLayout, values: DeviceMemory, size: tuple[int, int], most: int, stream: Any
    ) -> None:
        """Loads the kernels and allocates memory; the driver compiles them for its GPU.

        Args:
            driver: The module `pycuda.driver`.
            raw: What the network's output means.
            values: That output, `[batch, …, …]` of float32 or float16; must outlive the kernels.
            size: (height, width) of the network input, in pixels.
            most: Maximum number of rows of a picture.
            stream: The `pycuda.driver.Stream` that `enqueue` will run on.

        Raises:
            pycuda.driver.Error: Not enough memory, or the driver does not take the PTX.
        """
        self._raw, self._values, self._most = raw, values, most
        columns = ORIENTED_COLUMNS if raw.oriented else COLUMNS
        points = raw.keypoints.count if raw.keypoints else 0
        self._held: list[DeviceMemory] = []
        self._module = driver.module_from_buffer(PTX.read_bytes() + b"\0")
        kind = f"oriented_{values.dtype.name}" if raw.oriented else values.dtype.name
        self._candidates = self._module.get_function(f"candidates_{kind}")
        self._suppress = self._module.get_function("suppress_oriented" if raw.oriented else "suppress_rows")
        self._keypoints = self._module.get_function(f"keypoints_{values.dtype.name}")
        layout = make_layout(raw, values.shape, size, most)
        batch, anchors, capacity = values.shape[0], int(layout["anchors"][0]), int(layout["capacity"][0])
        self._blocks, self._point_blocks = -(-anchors // THREADS), -(-most * points // THREADS)
        try:
            self._layout = self._hold(DeviceBuffer(driver, (1, LAYOUT.itemsize), np.dtype(np.uint8)))
            self._wanted = self._hold(DeviceBuffer(driver, (batch, WANTED.itemsize), np.dtype(np.uint8)))
            self._keys = self._hold(DeviceMemory(driver, (batch, capacity), np.dtype(np.uint64)))
            self._found = self._hold(DeviceMemory(driver, (batch, anchors, columns), np.dtype(np.float32)))
            moved = MOMENTS if raw.oriented else MOVED
            self._moved = self._hold(DeviceMemory(driver, (batch, capacity, moved), np.dtype(np.float32)))
            self._counts = self._hold(DeviceMemory(driver, (batch,), np.dtype(np.int32)))
            self._picked = self._hold(DeviceMemory(driver, (batch, most), np.dtype(np.int32)))
            self.rows = self._hold(DeviceBuffer(driver, (batch, most, columns + 3 * points), np.dtype(np.float32)))
            self._counts.clear(stream)
            self._layout.host.reshape(-1).view(LAYOUT)[:] = layout
            self._layout.upload(self._layout.host, stream)
        except BaseException:
            self.free()
            raise

    def takes(self, selections: Sequence[Selection | None]) -> bool:
        """Returns whether there is room for the boxes that each picture may have."""
        return all(wanted(one).max_detections <= self._most for one in selections)

    def want(self, selections: Sequence[Selection | None]) -> None:
        """Writes down what the next run makes; the run before must be done.

        Args:
            selections: One for each of a batch's first pictures; `takes` them. Of other pictures no rows are made.
        """
        table = self._wanted.host.reshape(-1).view(WANTED)
        table[: len(selections)] = make_wanted(self._raw, selections)
        table[len(selections) :] = 0

    def enqueue(self, pictures: int, stream: Any) -> None:
        """Starts making the rows of a batch's first pictures, and copying them to the host.

        `rows.host` has them when the stream is done. Does not synchronise or allocate.

        Args:
            pictures: How many, 1…batch; `want` said what is wanted of them.
            stream: The stream of the construction, on which the values are ready.
        """
        self._wanted.upload(self._wanted.host[:pictures], stream)
        held = (
            self._values, self._layout, self._wanted, self._keys, self._found, self._moved, self._counts, self._picked,
            self.rows,
        )  # fmt: skip
        values, layout, table, keys, found, moved, counts, picked, rows = (np.uint64(one.address) for one in held)
        block = (THREADS, 1, 1)
        self._candidates(
            values, layout, table, keys, found, counts,
            block=block, grid=(self._blocks, 1, pictures), stream=stream,
        )  # fmt: skip
        self._suppress(
            layout, table, keys, found, moved, counts, *(() if self._raw.oriented else (picked,)), rows,
            block=block, grid=(1, 1, pictures), stream=stream,
        )  # fmt: skip
        if self._point_blocks:
            self._keypoints(
                values, layout, picked, rows, block=block, grid=(self._point_blocks, 1, pictures), stream=stream
            )
        self.rows.download(pictures, stream)

    def free(self) -> None:
        """Frees all memory; a second call does nothing."""
        for memory in self._held:
            memory.free()
        self._held.clear()

    def _hold(self, memory: Any) -> Any:
        self._held.append(memory)
        return memory
