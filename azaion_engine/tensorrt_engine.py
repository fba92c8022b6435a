"""TensorRTEngine: runs a TensorRT plan on one GPU."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine import engine_builder, gpu, tensorrt_api
from azaion_engine.cuda_context import CudaContext, cuda_context
from azaion_engine.device_buffers import DeviceBuffer
from azaion_engine.errors import ConfigurationError, EngineClosedError, ExecutionError, GpuLostError, ModelError
from azaion_engine.inference_engine import DYNAMIC_SIZE, InferenceEngine, check_detection_shape
from azaion_engine.tensorrt_api import IoTensor

_logger = logging.getLogger(__name__)

_STREAM_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING (cuda.h): the stream does not wait for the legacy default stream that other libraries use."""


_EXIT_PATIENCE_S = 10.0
"""Seconds that freeing waits for a running batch; the longest seen batches take well under one."""

_HUNG_AFTER_S = 60.0
"""Seconds after which a running batch counts as hung: no batch takes a tenth of it, and a GPU whose kernel
never ends gives no error either, so that only the clock can tell."""


class TensorRTEngine(InferenceEngine):
    """Runs one plan with pinned host memory and device memory for every tensor, on a stream of its own."""

    def __init__(
        self,
        model_bytes: bytes,
        *,
        batch_size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        device_id: int = 0,
        **kwargs: Any,
    ) -> None:
        """Deserialises the plan and allocates memory.

        Args:
            model_bytes: The plan.
            batch_size: Rows per execution where the plan's batch is dynamic; default the largest of its profile.
            height: Network input height in pixels where the plan leaves it dynamic; default 1280, or the nearest
                size that the plan's profile allows.
            width: Likewise the width.
            device_id: CUDA index of the GPU as this process sees it.
            **kwargs: Accepted for symmetry with the other engines, and refused by name.

        Raises:
            PlanError: The plan cannot be used here.
            ConfigurationError: No such GPU, or a batch or size outside the plan's profile.
            ModelError: The plan is no `[batch, n, 6]` detector.
            MissingDependencyError: TensorRT or PyCUDA is not installed.
        """
        super().__init__(model_bytes)
        if kwargs:
            raise TypeError(f"TensorRTEngine takes no option {', '.join(sorted(kwargs))}")
        self._trt = tensorrt_api.load()
        self._context = cuda_context(device_id)
        self._lost: str | None = None
        self._running_since: float | None = None
        self._resources = _Resources(self._context, self._lock)
        # Frees the GPU when the engine is forgotten, and before the interpreter ends, while CUDA is still there.
        self._finalizer = weakref.finalize(self, _Resources.free, self._resources)
        try:
            with self._context.active():
                self._prepare(model_bytes, batch_size, height, width)
        except (self._context.driver.Error, _ExecutionFailed) as error:
            self._finalizer()
            raise ConfigurationError(f"GPU {device_id} cannot hold this engine: {error}") from error
        except BaseException:
            self._finalizer()
            raise

    def _prepare(self, plan: bytes, batch_size: int | None, height: int | None, width: int | None) -> None:
        held = self._resources
        held.stream = self._context.driver.Stream(_STREAM_NON_BLOCKING)
        held.runtime, held.engine = self._trt.deserialize(plan)
        tensors = self._trt.io_tensors(held.engine)
        self._input = _picture_input(tensors)
        self._outputs = [tensor for tensor in tensors if not tensor.is_input]
        if not self._outputs:
            raise ModelError("the plan has no output")
        check_detection_shape(self._outputs[0].shape, self._outputs[0].name)
        low, _, high = self._input.profile
        self._batch_size = _choose_batch(self._input, batch_size)
        self._smallest_batch = low[0]
        rows = max(self._batch_size, self._smallest_batch)
        self._fixed_batch = self._input.shape[0] >= 0
        self._size = (
            _choose_size("height", self._input.shape[2], low[2], high[2], height),
            _choose_size("width", self._input.shape[3], low[3], high[3], width),
        )
        held.execution = self._trt.create_execution_context(held.engine)
        self._set_rows(rows)
        for tensor in (self._input, *self._outputs):
            shape = tuple(int(size) for size in held.execution.get_tensor_shape(tensor.name))
            if any(size < 0 for size in shape) or shape[0] != rows:
                raise ModelError(f"{tensor.name!r} is {list(shape)}: its size must not depend on the picture's content")
            buffer = held.buffers[tensor.name] = DeviceBuffer(self._context.driver, shape, tensor.dtype)
            held.execution.set_tensor_address(tensor.name, buffer.address)

    @property
    def name(self) -> str:
        """Flavour and version of TensorRT, e.g. `tensorrt-8.6.0`."""
        return f"{self._trt.flavor}-{self._trt.version}"

    def get_input_shape(self) -> tuple[int, int]:
        """Returns (height, width) of the network input, in pixels."""
        return self._size

    def get_batch_size(self) -> int:
        """Returns the number of rows that one execution takes at most."""
        return self._batch_size

    @staticmethod
    def get_gpu_memory_bytes(device_id: int = 0) -> int:
        """Returns the total memory of a GPU in bytes, through NVML.

        Raises:
            MissingDependencyError: PyCUDA, NVML or the NVIDIA driver is not installed.
            ConfigurationError: This process sees no such GPU.
        """
        return gpu.get_gpu_memory_bytes(device_id)

    @staticmethod
    def get_engine_filename(device_id: int = 0) -> str | None:
        """Returns `azaion.cc_{major}.{minor}_sm_{sm_count}.engine`; None without a GPU, a driver or PyCUDA."""
        return gpu.find_engine_filename(device_id)

    @staticmethod
    def convert_from_onnx(onnx_model: bytes) -> bytes | None:
        """Builds a plan for GPU 0: 90 % of its memory as workspace, FP16 where supported; takes minutes.

        Args:
            onnx_model: The ONNX file.

        Returns:
            The plan, or None; the log then names the parser's errors and their nodes.
        """
        return engine_builder.convert_from_onnx(onnx_model)

    def check_health(self) -> None:
        """Raises an error when the engine can never run again; never waits behind a running batch.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost, or a batch has been running for so long that the GPU hangs.
        """
        super().check_health()
        if self._lost:
            raise GpuLostError(self._lost)
        if not self._lock.acquire(blocking=False):
            # A batch is running: it finds errors itself, and remembers them, unless it never comes back.
            since = self._running_since
            if since is not None and (elapsed := time.monotonic() - since) > _HUNG_AFTER_S:
                raise GpuLostError(
                    f"{self.name}: GPU {self._context.device_id} hangs: a batch runs for {elapsed:.0f} s"
                )
            return
        try:
            super().check_health()
            try:
                with self._context.active():
                    # The stream tells of sticky errors, the memory question reaches the driver: it fails when
                    # the GPU has left the bus.
                    self._resources.stream.is_done()
                    self._context.memory_bytes()
            except self._context.driver.Error as error:
                raise self._remember_lost(error) from error
        finally:
            self._lock.release()

    def _run_rows(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        if self._lost:
            raise GpuLostError(self._lost)
        if self._resources.execution is None:  # a daemon thread that outlives the interpreter's exit hooks
            raise EngineClosedError(f"{self.name}: the engine is closed")
        mark = self._trt.log.mark()
        driver_error = self._context.driver.Error
        self._running_since = time.monotonic()
        try:
            with self._context.active():
                try:
                    return self._execute(rows)
                except (driver_error, _ExecutionFailed) as error:
                    # A sticky error comes back at every later call, any other is over.
                    self._resources.stream.synchronize()
                    words = "; ".join([str(error), *self._trt.log.errors_since(mark)[-3:]])
                    raise ExecutionError(f"{self.name} failed on {len(rows)} rows: {words}") from error
        except driver_error as error:
            raise self._remember_lost(error) from error
        finally:
            self._running_since = None

    def _execute(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        held, count = self._resources, len(rows)
        taken = self._batch_size if self._fixed_batch else max(count, self._smallest_batch)
        given = held.buffers[self._input.name]
        given.host[:count] = rows  # casts, and gathers what is not contiguous
        given.host[count:taken] = 0
        self._set_rows(taken)
        given.upload(taken, held.stream)
        if not held.execution.execute_async_v3(held.stream.handle):
            raise _ExecutionFailed("TensorRT did not start the execution")
        made = [held.buffers[tensor.name] for tensor in self._outputs]
        for buffer in made:
            buffer.download(count, held.stream)
        held.stream.synchronize()
        # Copies: the pinned memory is written again by the next batch.
        return [np.array(buffer.host[:count], dtype=np.float32) for buffer in made]

    def _set_rows(self, count: int) -> None:
        held = self._resources
        if held.rows != count:
            if not held.execution.set_input_shape(self._input.name, (count, 3, *self._size)):
                raise _ExecutionFailed(f"TensorRT refuses the input shape {[count, 3, *self._size]}")
            held.rows = count

    def _remember_lost(self, error: Exception) -> GpuLostError:
        self._lost = f"{self.name}: GPU {self._context.device_id} is lost to this process: {error}"
        return GpuLostError(self._lost)

    def _release(self) -> None:
        self._finalizer()


class _ExecutionFailed(Exception):  # noqa: N818
    """TensorRT said no without a CUDA error."""


class _Resources:
    """Everything that lies on the GPU, apart from the engine object so that it can be freed without it."""

    def __init__(self, context: CudaContext, lock: threading.RLock) -> None:
        self.context = context
        self.lock = lock
        self.runtime: Any = None
        self.engine: Any = None
        self.execution: Any = None
        self.stream: Any = None
        self.rows = 0
        self.buffers: dict[str, DeviceBuffer] = {}

    def free(self) -> None:
        """Frees in the one order in which nothing refers to what is already gone."""
        # At the interpreter's exit a daemon thread may still be running a batch on this memory.
        if not self.lock.acquire(timeout=_EXIT_PATIENCE_S):
            _logger.warning("a batch is still running: its GPU memory is left to the end of the process")
            return
        try:
            with self.context.active():
                self.execution = None
                self.engine = None
                self.runtime = None
                for buffer in self.buffers.values():
                    buffer.free()
                self.buffers.clear()
                self.stream = None
        except self.context.driver.Error as error:
            # On a lost GPU nothing can be freed, and nothing needs to be: the context is gone as a whole.
            _logger.warning("cannot free the engine's GPU memory: %s", error)
        finally:
            self.lock.release()


def _picture_input(tensors: list[IoTensor]) -> IoTensor:
    inputs = [tensor for tensor in tensors if tensor.is_input]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
        given = [f"{tensor.name} {list(tensor.shape)}" for tensor in inputs]
        raise ModelError(f"expected one input [batch, 3, height, width], the plan has {given}")
    return inputs[0]


def _choose_batch(picture: IoTensor, wanted: int | None) -> int:
    largest = picture.shape[0] if picture.shape[0] >= 0 else picture.profile[2][0]
    if wanted is not None and not 1 <= wanted <= largest:
        raise ConfigurationError(f"batch_size {wanted} is outside what this engine was built for: 1 to {largest}")
    # A fixed batch stays what it is: fewer rows are padded.
    return largest if wanted is None or picture.shape[0] >= 0 else wanted


def _choose_size(side: str, fixed: int, low: int, high: int, wanted: int | None) -> int:
    if fixed >= 0:
        return fixed
    if wanted is None:
        return min(max(DYNAMIC_SIZE, low), high)
    if not low <= wanted <= high:
        raise ConfigurationError(f"{side} {wanted} is outside what this engine was built for: {low} to {high}")
    return wanted
