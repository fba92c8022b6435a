"""InferenceEngine: the contract every engine keeps, and the input checks that all of them share."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import EngineClosedError, GpuLostError, InvalidTensorError
from azaion_engine.heads.end_to_end import check_detection_shape
from azaion_engine.pictures.prepared import ArrayPicture, LoadablePicture, PictureForm, PreparedBatch

if TYPE_CHECKING:
    from azaion_engine.plans.store import StoreOutcome


logger = logging.getLogger(__name__)

Found = NDArray[np.float32] | Exception
"""What an engine gives for one picture: float32 `[k, 6]`, in pixels of the network input, or why there is nothing."""


class InferenceEngine(ABC):
    """Runs one detector: float pictures in, rows of boxes out.

    Subclasses say what their input is, and implement `_run` and `_release`; those that load pictures themselves also
    `open_pictures` and `_run_loadable`. `run` and `run_pictures` may be called from any thread.

    Attributes:
        origin: Whether the plan store built or loaded this engine, why, and how long it took; None without a store.
    """

    origin: StoreOutcome | None = None

    def __init__(self) -> None:
        """Prepares the state shared by all engines."""
        self._lock = threading.RLock()
        self._closed = False

    @abstractmethod
    def get_input_shape(self) -> tuple[int, int]:
        """Returns (height, width) of the network input, in pixels."""

    @abstractmethod
    def get_batch_size(self) -> int:
        """Returns the number of rows that one execution takes at most."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name of what executes the model, e.g. `onnxruntime-cpu` or `tensorrt-10.13.0`."""

    @property
    def lanes(self) -> int:
        """Batches that gain from running at a time, each called for by a thread of its own."""
        return 1

    @property
    def smallest_second(self) -> int:
        """Minimum size of a batch started beside a running one; by default a full batch."""
        return self.get_batch_size()

    @abstractmethod
    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        """Runs checked rows, any number of them; returns one array per output, each with as many rows."""

    @abstractmethod
    def _release(self) -> None:
        """Gives every resource back; called once, under the engine's lock."""

    def run(self, input_data: NDArray[Any]) -> list[NDArray[Any]]:
        """Runs the network on any number of rows, in slices of the batch size.

        Args:
            input_data: float32 or float16 `[n, 3, height, width]`, n ≥ 1, RGB in 0…1. Read-only and
                non-contiguous arrays are fine; it is cast to the dtype that the model takes.

        Returns:
            One float32 array per model output; the first is `[n, k, 6]` with rows
            x1, y1, x2, y2 (pixels of the network input), confidence (0…1), class.

        Raises:
            InvalidTensorError: Wrong dtype, rank or size; names expected and given.
            ModelError: The model gives something else than `[n, k, 6]`.
            ExecutionError: The runtime failed on these rows.
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost.
        """
        self._check_input(input_data)
        outputs = self._run(input_data)
        check_detection_shape(outputs[0].shape, "output 0")  # a model may leave its shape open until it runs
        return outputs

    def run_pictures(self, pictures: PreparedBatch) -> list[Found]:
        """Runs prepared pictures together; a picture that the engine fails on fails alone.

        Args:
            pictures: Any number. `ArrayPicture`s can always be run, others in the form that `open_pictures` named.

        Returns:
            One for each: its rows, or its error: a PictureError where the GPU could not decode it, else what the
            runtime raised.

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
        """Makes an array for `run`, for the caller to fill, in the memory that this engine reads soonest.

        Args:
            rows: How many.

        Returns:
            float32, or float16 where the engine would rather have that, `[rows, 3, height, width]`.
        """
        return np.empty((rows, 3, *self.get_input_shape()), np.float32)

    def open_pictures(self) -> PictureForm:
        """Gets ready for pictures and says in what form the engine takes them; may take seconds the first time."""
        return PictureForm.ARRAY

    def warm_up(self) -> None:
        """Runs what requests will need once, so that the first request pays for nothing."""
        for rows in sorted({1, self.get_batch_size()}):
            self.run(np.zeros((rows, 3, *self.get_input_shape()), np.float32))

    def check_health(self) -> None:
        """Raises an error when the engine can never run again; never waits behind a running batch.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost.
        """
        if self._closed:
            raise EngineClosedError(f"{self.name}: the engine is closed")

    def close(self) -> None:
        """Gives memory and contexts back; a second call does nothing."""
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
        rows = iter(() if pictures.arrays is None else self.run(pictures.arrays)[0])
        loadable = pictures.loadable
        loaded = iter(self._run_loadable(loadable) if loadable else ())
        return [next(rows) if isinstance(picture, ArrayPicture) else next(loaded) for picture in pictures.pictures]

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> Sequence[Found]:
        """Runs pictures that the engine loads itself; those that take arrays never get any."""
        raise InvalidTensorError(f"{self.name} takes arrays, given {type(pictures[0]).__name__}")

    def _check_input(self, data: NDArray[Any]) -> None:
        size = (3, *self.get_input_shape())
        if not isinstance(data, np.ndarray):
            wrong = "type"
        elif data.dtype not in (np.float32, np.float16):
            wrong = "dtype"
        elif data.ndim != 4:
            wrong = "rank"
        elif data.shape[1:] != size or data.shape[0] < 1:
            wrong = "size"
        else:
            return
        expected = f"a NumPy array float32 or float16 [n, {', '.join(map(str, size))}] with n >= 1"
        given = f"{data.dtype} {list(data.shape)}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InvalidTensorError(f"wrong {wrong}: expected {expected}, given {given}")
