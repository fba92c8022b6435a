"""OnnxEngine: ONNX Runtime on the CPU, the default without a GPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.errors import ExecutionError, ModelError
from azaion_engine.heads.choice import Choice, choose
from azaion_engine.model.extras import value_of
from azaion_engine.model.info import ModelInfo
from azaion_engine.model.plugins import without_plugin
from azaion_engine.pictures.prepared import Selection
from azaion_engine.settings import check_at_least_one
from azaion_engine.system.cores import available_cores


class OnnxEngine(InferenceEngine):
    """Runs an ONNX detector on the CPU."""

    def __init__(
        self,
        model_bytes: bytes,
        *,
        batch_size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        threads: int | None = None,
        lanes: int = 1,
        choice: Choice | None = None,
        **kwargs: Any,
    ) -> None:
        """Opens the session.

        Args:
            model_bytes: The ONNX file.
            batch_size: Rows per execution if the model's batch is dynamic; default 1, because batches do not
                speed up a CPU, and a single request would wait for others.
            height: Network input height in pixels, if the model leaves it dynamic; default: its `imgsz`, else 1280.
            width: Likewise for the width.
            threads: CPU threads of all executions at once; default every core this process may use.
            lanes: Executions at once, which share the threads, at most as many as these. With one thread each, none
                waits for another after every operator: more pictures a second, but each takes longer, and each lane
                needs memory of its own.
            choice: Head and input form; default: recognised from the file.
            **kwargs: Options of other engines; any raises TypeError, which names them.

        Raises:
            ConfigurationError: A size, batch or number of threads below 1.
            ModelError: The model cannot be read or is no detector.
        """
        super().__init__()
        if kwargs:
            raise TypeError(f"OnnxEngine takes no option {', '.join(sorted(kwargs))}")
        check_at_least_one(batch_size=batch_size, height=height, width=width, threads=threads, lanes=lanes)
        import onnxruntime

        self.info = ModelInfo.from_onnx(model_bytes)
        options = onnxruntime.SessionOptions()
        threads = threads or available_cores()
        self._lanes = min(lanes, threads)
        options.intra_op_num_threads = threads // self._lanes
        # Spinning idle threads would take cores from decoding and HTTP (docs/decisions/0015).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: warnings about unused initialisers are of no use here
        if self.info.suppression is not None:
            model_bytes = without_plugin(model_bytes)
        try:
            # The fallback would try the same provider again and print to stdout.
            self._session = onnxruntime.InferenceSession(
                model_bytes, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError(f"ONNX Runtime cannot load the model: {' '.join(str(error).split())}") from error
        self._free_lanes = threading.BoundedSemaphore(self._lanes)
        self._fixed_batch = self.info.input.shape[0] > 0
        self._batch_size, *size = self.info.resolve(batch_size or 1, height, width)
        self._size = (size[0], size[1])
        self._dtype = np.dtype(self.info.input.dtype)
        self._input_name = self.info.input.name
        self.choice = choice or choose(self.info.signature(*self._size))
        if not self.choice.head.batched:
            self._batch_size = 1

    @property
    def name(self) -> str:
        """Name and provider of the runtime."""
        return "onnxruntime-cpu"

    def get_input_shape(self) -> tuple[int, int]:
        """Returns (height, width) of the network input, in pixels."""
        return self._size

    def get_batch_size(self) -> int:
        """Returns the maximum number of rows per execution."""
        return self._batch_size

    @property
    def lanes(self) -> int:
        """Number of executions at once."""
        return self._lanes

    @property
    def output_names(self) -> tuple[str, ...]:
        """Every output of the model."""
        return tuple(tensor.name for tensor in self.info.outputs)

    def warm_up(self) -> None:
        """Runs each size twice: ONNX Runtime plans its memory in the first run and allocates it in the second."""
        for _ in range(2):
            super().warm_up()

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        parts = self._run_parts(data, self.output_names)
        if len(parts) == 1:
            return parts[0]
        try:
            return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
        except ValueError as error:
            raise ModelError(f"the outputs' size depends on the picture, run one row at a time: {error}") from error

    def _run_arrays(self, data: NDArray[Any], selections: Sequence[Selection | None]) -> list[NDArray[np.float32]]:
        """Reads only the outputs that the head needs; their size may depend on the picture."""
        head, batch = self.choice.head, self._batch_size
        return [
            rows
            for start, outputs in zip(range(0, len(data), batch), self._run_parts(data, head.outputs), strict=True)
            for rows in head.rows(
                dict(zip(head.outputs, outputs, strict=True)), self._size, selections[start : start + batch]
            )
        ]

    def _run_parts(self, data: NDArray[Any], names: Sequence[str]) -> list[list[NDArray[Any]]]:
        batch = self._batch_size
        with self._free_lanes:
            self.check_health()
            return [self._run_batch(data[i : i + batch], names) for i in range(0, len(data), batch)]

    def _run_batch(self, rows: NDArray[Any], names: Sequence[str]) -> list[NDArray[Any]]:
        count = len(rows)
        if self._fixed_batch and count < self._batch_size:
            padding = np.zeros((self._batch_size - count, *rows.shape[1:]), rows.dtype)
            rows = np.concatenate([rows, padding])
        pictures = np.ascontiguousarray(rows, dtype=self._dtype)
        given = {self._input_name: pictures[0] if self.info.unbatched else pictures}
        for extra in self.info.extras:
            given[extra.name] = np.repeat(value_of(extra, *self._size), len(rows), axis=0)
        try:
            outputs = self._session.run(list(names), given)
        except Exception as error:  # onnxruntime's exceptions have no common base
            odd = any(side % 32 for side in self._size)
            hint = "; most detectors need a height and width in multiples of 32" if odd else ""
            raise ExecutionError(f"ONNX Runtime failed on {list(rows.shape)}: {error}{hint}") from error
        if not self.choice.head.batched:
            outputs = [output[None] for output in outputs]
        for name, output in zip(names, outputs, strict=True):
            if output.ndim == 0 or len(output) != len(rows):
                raise ModelError(
                    f"output {name!r} is {list(output.shape)} for {len(rows)} pictures, expected a row for each"
                )
        return [np.asarray(output[:count], dtype=np.float32) for output in outputs]

    def _release(self) -> None:
        with ExitStack() as held:
            for _ in range(self._lanes):  # waits for what runs
                held.enter_context(self._free_lanes)
            del self._session
