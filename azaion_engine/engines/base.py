"""InferenceEngine: the contract every engine keeps, and the input checks that all of them share."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import EngineClosedError, InvalidTensorError, PictureError
from azaion_engine.heads.end_to_end import check_detection_shape
from azaion_engine.pictures.prepared import PictureForm, PreparedPicture

if TYPE_CHECKING:
    from azaion_engine.plans.store import StoreOutcome


class InferenceEngine(ABC):
    """Runs one detector: float pictures in, rows of boxes out.

    Subclasses accept the model as bytes, expose its input size and batch, and implement `_run_rows`
    and `_release`. `run` may be called from any thread.

    Attributes:
        origin: Whether the engine store built or loaded this engine, why, and how long it took; None without a store.
    """

    origin: StoreOutcome | None = None

    def __init__(self, model_bytes: bytes, **kwargs: Any) -> None:
        """Prepares the state shared by all engines.

        Args:
            model_bytes: The serialised model (ONNX file or TensorRT plan, as the subclass says).
            **kwargs: Options of the subclass.
        """
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
        """Pictures from which on a batch is worth handing over while another runs: as a rule a full one."""
        return self.get_batch_size()

    @abstractmethod
    def _run_rows(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """Runs 1…batch checked rows and returns one array per output, each with as many rows."""

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

    def empty_input(self, rows: int) -> NDArray[Any]:
        """Makes an array for `run`, for the caller to fill, in the memory that this engine reads soonest.

        Args:
            rows: How many.

        Returns:
            float32, or float16 where the engine would rather have that, `[rows, 3, height, width]`.
        """
        return np.empty((rows, 3, *self.get_input_shape()), np.float32)

    def open_pictures(self) -> PictureForm:
        """Gets ready for pictures and says in what form the engine takes them; may take seconds the first time.

        Returns:
            `ARRAY` unless the engine has `run_pictures`.
        """
        return PictureForm.ARRAY

    def run_pictures(self, pictures: Sequence[PreparedPicture]) -> list[NDArray[np.float32] | PictureError]:
        """Runs prepared pictures; only engines whose `open_pictures` says more than `ARRAY` have it.

        Args:
            pictures: Any number, in the form that `open_pictures` named.

        Returns:
            One for each: float32 `[k, 6]` rows as of `run`, or what is wrong with the picture.
        """
        raise NotImplementedError(f"{self.name} takes arrays")

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

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        """Runs checked rows, any number of them."""
        batch = self.get_batch_size()
        with self._lock:
            if self._closed:
                raise EngineClosedError(f"{self.name}: the engine is closed")
            parts = [self._run_rows(data[i : i + batch]) for i in range(0, len(data), batch)]
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

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
