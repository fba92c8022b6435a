"""Base of all engines: their interface `InferenceEngine`, and the input checks that they share."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import EngineClosedError, GpuLostError, InvalidTensorError
from azaion_engine.heads.choice import Choice
from azaion_engine.pictures.prepared import (
    ArrayPicture,
    HeldPicture,
    JpegPicture,
    LoadablePicture,
    PictureForm,
    PreparedBatch,
    Selection,
)

if TYPE_CHECKING:
    from azaion_engine.plans.store import StoreOutcome


logger = logging.getLogger(__name__)

_FLOATS = (np.dtype(np.float32), np.dtype(np.float16))
_BYTES = (np.dtype(np.uint8),)

Found = NDArray[np.float32] | Exception
"""An engine's result for one picture: its rows, float32 as in `Head.rows`, or the error."""


class InferenceEngine(ABC):
    """Interface of an engine that runs one detector: `run` gives the network's outputs, `run_pictures` rows of boxes.

    Subclasses state their input size and implement `_run` and `_release`; those that load pictures themselves also
    override `open_pictures` and `_run_loadable`. `run` and `run_pictures` are thread-safe.

    Attributes:
        origin: Whether the plan store built or loaded this engine, why, and how long it took; None without a store.
        choice: Head that makes the rows, and form of the network input.
    """

    origin: StoreOutcome | None = None
    choice: Choice = Choice()

    def __init__(self) -> None:
        """Prepares the state shared by all engines."""
        self._lock = threading.RLock()
        self._closed = False

    @abstractmethod
    def get_input_shape(self) -> tuple[int, int]:
        """Returns (height, width) of the network input, in pixels."""

    @abstractmethod
    def get_batch_size(self) -> int:
        """Returns the maximum number of rows per execution."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name of what executes the model, e.g. `onnxruntime-cpu` or `tensorrt-10.13.0`."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the arrays that `run` returns, in order."""
        return self.choice.head.outputs

    @property
    def lanes(self) -> int:
        """Number of batches worth running concurrently, each from its own thread."""
        return 1

    @property
    def smallest_second(self) -> int:
        """Minimum size of a batch started beside running ones; by default a full batch."""
        return self.get_batch_size()

    @abstractmethod
    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        """Runs any number of checked rows; returns one array per output, with one row for each input row."""

    @abstractmethod
    def _release(self) -> None:
        """Frees all resources; called once, under the engine's lock."""

    def run(self, input_data: NDArray[Any]) -> list[NDArray[Any]]:
        """Runs the network on any number of rows, in slices of the batch size.

        Args:
            input_data: What `choice.form` says, by default float32 or float16 `[n, 3, height, width]`, n ≥ 1, RGB in
                0…1. May be read-only or non-contiguous; it is cast to the model's dtype.

        Returns:
            One float32 array per model output, as the network gave it, in the order of `output_names`. Of an end-to-end
            model the first is `[n, k, 6]` with rows x1, y1, x2, y2 (pixels of the network input), confidence (0…1),
            class.

        Raises:
            InvalidTensorError: Wrong dtype, rank or size; names expected and given.
            ModelError: An output has no row for each input row.
            ExecutionError: The runtime failed on these rows.
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost.
        """
        self._check_input(input_data)
        return self._run(input_data)

    def run_arrays(
        self, input_data: NDArray[Any], selections: Sequence[Selection | None] | None = None
    ) -> list[NDArray[np.float32]]:
        """Runs the network on any number of rows and makes boxes of its outputs.

        Args:
            input_data: As for `run`.
            selections: Which boxes are wanted of each row; default: every box of the head.

        Returns:
            For each row of the input, its boxes as in `Head.rows`.

        Raises:
            AzaionError: As `run`.
        """
        self._check_input(input_data)
        self.choice.require_settled()
        return self._run_arrays(input_data, selections or [None] * len(input_data))

    def _run_arrays(self, data: NDArray[Any], selections: Sequence[Selection | None]) -> list[NDArray[np.float32]]:
        outputs = dict(zip(self.output_names, self._run(data), strict=True))
        return self.choice.head.rows(outputs, self.get_input_shape(), selections)

    def run_pictures(self, pictures: PreparedBatch) -> list[Found]:
        """Runs prepared pictures as a batch; if the batch fails, runs each picture alone.

        Args:
            pictures: Any number. Every engine runs `ArrayPicture`s; other forms only if `open_pictures` returned them.

        Returns:
            For each picture, its rows or its error: PictureError if the GPU could not decode it, else the runtime's
            error.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost.
        """
        try:
            return self._run_prepared(pictures)
        except (GpuLostError, EngineClosedError):
            raise
        except Exception as error:
            if len(pictures) == 1:
                return [error]
            logger.exception("a batch of %d failed; each picture is tried alone", len(pictures))
            return [found for picture in pictures.pictures for found in self.run_pictures(PreparedBatch([picture]))]

    def empty_input(self, rows: int) -> NDArray[Any]:
        """Allocates an array for `run`, not initialised, in the memory that this engine reads fastest.

        Args:
            rows: Number of rows.

        Returns:
            As `run` takes it: float32, or float16 if the engine prefers it, `[rows, 3, height, width]` by default.
        """
        form = self.choice.form
        return np.empty((rows, *form.array_shape(*self.get_input_shape())), form.array_dtype)

    def open_pictures(self) -> PictureForm:
        """Prepares the engine for pictures and returns the form it takes; the first call may take seconds."""
        return PictureForm.ARRAY

    def hold(self, picture: JpegPicture) -> HeldPicture | None:
        """Decodes a JPEG of which the network is to see tiles, and keeps its pixels until it is released.

        Args:
            picture: As for `run_pictures`; only its size, bytes and orientation count.

        Returns:
            The picture, of which `TilePicture`s can be run; None if the caller is to decode it: the engine holds none,
            has no room for it at the moment, or cannot decode it, which may be the fault of the picture.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost.
        """
        return None

    def warm_up(self) -> None:
        """Runs the smallest and the largest batch once, so that the first request is not slow."""
        for rows in sorted({1, self.get_batch_size()}):
            data = InferenceEngine.empty_input(self, rows)
            data.fill(0)
            self.run(data)

    def check_health(self) -> None:
        """Raises an error if the engine can never run again; does not wait for a running batch.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost.
        """
        if self._closed:
            raise EngineClosedError(f"{self.name}: the engine is closed")

    def check_ready(self) -> None:
        """Raises an error if the engine would not run now; does not wait for a running batch.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost, for good or for now.
        """
        self.check_health()

    def close(self) -> None:
        """Frees memory and contexts; a second call does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._release()

    def __enter__(self) -> InferenceEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_prepared(self, pictures: PreparedBatch) -> list[Found]:
        rows: Iterator[Found] = iter(())
        if pictures.arrays is not None:
            selections = [one.selection for one in pictures.pictures if isinstance(one, ArrayPicture)]
            rows = iter(self.run_arrays(pictures.arrays, selections))
        loadable = pictures.loadable
        loaded = iter(self._run_loadable(loadable) if loadable else ())
        return [next(rows) if isinstance(picture, ArrayPicture) else next(loaded) for picture in pictures.pictures]

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> Sequence[Found]:
        """Runs pictures that the engine loads itself; engines that only take arrays refuse them."""
        raise InvalidTensorError(f"{self.name} takes arrays, given {type(pictures[0]).__name__}")

    def _check_input(self, data: NDArray[Any]) -> None:
        form = self.choice.form
        size = form.array_shape(*self.get_input_shape())
        dtypes = _BYTES if form.dtype == "uint8" else _FLOATS
        if not isinstance(data, np.ndarray):
            wrong = "type"
        elif data.dtype not in dtypes:
            wrong = "dtype"
        elif data.ndim != 4:
            wrong = "rank"
        elif data.shape[1:] != size or data.shape[0] < 1:
            wrong = "size"
        else:
            return
        expected = f"a NumPy array {' or '.join(map(str, dtypes))} [n, {', '.join(map(str, size))}] with n >= 1"
        given = f"{data.dtype} {list(data.shape)}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InvalidTensorError(f"wrong {wrong}: expected {expected}, given {given}")
