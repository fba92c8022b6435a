"""TensorRTEngine: runs a TensorRT plan on one GPU."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda import gpu
from azaion_engine.cuda.context import cuda_context
from azaion_engine.cuda.libcuda import LibcudaError
from azaion_engine.cuda.memory import pinned_empty
from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.build import builder as engine_builder
from azaion_engine.engines.tensorrt.plan_head import choice_of_plan
from azaion_engine.engines.tensorrt.run.batch_graph import ExecutionFailedError
from azaion_engine.engines.tensorrt.run.lane import Lane
from azaion_engine.engines.tensorrt.run.lane_pool import LanePool, LanePoolClosed
from azaion_engine.engines.tensorrt.run.resources import EngineResources
from azaion_engine.errors import (
    ConfigurationError,
    EngineClosedError,
    ExecutionError,
    GpuLostError,
)
from azaion_engine.heads.choice import Choice
from azaion_engine.pictures.prepared import HeldPicture, JpegPicture, LoadablePicture, PictureForm

if TYPE_CHECKING:  # only pictures need OpenCV and Pillow
    from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoders

_logger = logging.getLogger(__name__)

_HUNG_AFTER_S = 60.0
"""Seconds after which a running batch counts as hung, far longer than any batch takes. A timeout is needed
because a kernel that never ends raises no error."""


class TensorRTEngine(InferenceEngine):
    """Runs one plan, up to three batches concurrently; every tensor has pinned host memory and device memory."""

    def __init__(
        self,
        model_bytes: bytes,
        *,
        batch_size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        device_id: int = 0,
        choice: Choice | None = None,
        **kwargs: Any,
    ) -> None:
        """Deserialises the plan and allocates memory.

        Args:
            model_bytes: The plan.
            batch_size: Rows per execution if the plan's batch is dynamic; default the maximum of its profile.
            height: Network input height in pixels, if the plan leaves it dynamic; default 1280, or the nearest
                size that the plan's profile allows.
            width: Likewise for the width.
            device_id: CUDA index of the GPU as this process sees it.
            choice: Head and input form; default: recognised from the plan's tensors.
            **kwargs: Options of other engines; any raises TypeError, which names them.

        Raises:
            PlanError: The plan cannot be used on this machine.
            ConfigurationError: No such GPU, too little GPU memory, or a batch or size outside the plan's profile.
            ModelError: The plan is no detector.
            MissingDependencyError: TensorRT or PyCUDA is not installed.
        """
        super().__init__()
        if kwargs:
            raise TypeError(f"TensorRTEngine takes no option {', '.join(sorted(kwargs))}")
        self._trt = installed.load()
        self._context = cuda_context(device_id)
        self._lost: str | None = None
        self._form: PictureForm | None = None
        self._resources = EngineResources(self._context)
        # Frees the GPU's memory when the engine is garbage-collected, and at exit while CUDA is still loaded.
        self._finalizer = weakref.finalize(self, EngineResources.free, self._resources)
        try:
            with self._context.active():
                self._resources.load(self._trt, model_bytes, batch_size, height, width)
            assert self._resources.plan is not None
            self.choice = choice or choice_of_plan(self._resources.plan.tensors, self._resources.size)
        except (self._context.driver.Error, ExecutionFailedError) as error:
            self._finalizer()
            raise ConfigurationError(f"GPU {device_id} cannot hold this engine: {error}") from error
        except BaseException:
            self._finalizer()
            raise

    @property
    def name(self) -> str:
        """Flavour and version of TensorRT, e.g. `tensorrt-8.6.0`."""
        return f"{self._trt.flavour}-{self._trt.version}"

    @property
    def lanes(self) -> int:
        """Number of batches that overlap on the GPU: 2, or 1 if GPU memory is short."""
        return len(self._resources.lanes)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Every output of the plan."""
        return self._resources.output_names

    def get_input_shape(self) -> tuple[int, int]:
        """Returns (height, width) of the network input, in pixels."""
        return self._resources.size

    def get_batch_size(self) -> int:
        """Returns the maximum number of rows per execution."""
        return self._resources.batch_size

    def empty_input(self, rows: int) -> NDArray[Any]:
        """Allocates an array for `run` in pinned memory, which the GPU reads directly.

        Other arrays are first copied into pinned memory, in pieces; that copy can take longer than the network.

        Args:
            rows: Number of rows.

        Returns:
            As `run` takes it, in the network's dtype: `[rows, 3, height, width]` by default. It may be refilled once
            `run` has returned, and it stays valid after the engine is closed.

        Raises:
            EngineClosedError: The engine was closed.
            ConfigurationError: The machine cannot pin that much memory.
        """
        self._pool()  # raises EngineClosedError
        return pinned_empty(self._context, (rows, *self._resources.picture_shape), self._resources.dtype)

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
        """Raises an error if the engine can never run again; does not wait for a running batch.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost, or a batch has been running for more than `_HUNG_AFTER_S`.
        """
        super().check_health()
        if self._lost:
            raise GpuLostError(self._lost)
        pool = self._pool()
        if (elapsed := pool.longest_s()) > _HUNG_AFTER_S:
            raise GpuLostError(f"{self.name}: GPU {self._context.device_id} hangs: a batch runs for {elapsed:.0f} s")
        try:
            with pool.take(least=0) as idle, self._context.active():
                for lane in idle:  # on busy lanes the running batch detects and records errors
                    # The stream query reports sticky errors. The memory query reaches the driver and fails when the
                    # GPU has fallen off the bus.
                    lane.stream.is_done()
                    self._context.memory_bytes()
        except LanePoolClosed:
            raise EngineClosedError(f"{self.name}: the engine is closed") from None
        except self._context.driver.Error as error:
            raise self._remember_lost(error) from error

    def open_pictures(self, decoders: JpegDecoders | None = None) -> PictureForm:
        """Loads the letterbox kernel and a JPEG decoder per lane, and warms up meanwhile; only on the first call.

        Args:
            decoders: Decoders for this engine's batch and size that are opening already; default: opens them now.

        Returns:
            `JPEG`; `PIXELS` if nvJPEG is missing; `ARRAY` if the driver rejects the kernel, or the kernel does not make
            the network's input form. The log says what is missing.
        """
        if self._form is None and not self.choice.form.on_gpu:
            _logger.warning("pictures are prepared on the CPU: %s", self.choice.form.describe())
            self._form = PictureForm.ARRAY
        if self._form is None:
            from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoders

            batch, size = self.get_batch_size(), self.get_input_shape()
            with (
                self._lock,
                decoders or JpegDecoders(self.lanes, batch, size, self._context.device_id) as opening,
                self._on_every_lane() as lanes,
            ):
                if self._form is None:  # else another thread was first
                    for lane in lanes:
                        lane.warm_up()
                    self._form = self._open_loaders(lanes, opening)
        return self._form

    def _open_loaders(self, lanes: Sequence[Lane], decoders: JpegDecoders) -> PictureForm:
        from azaion_engine.pictures.gpu.decode_queue import MOST_TOGETHER
        from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoder
        from azaion_engine.pictures.gpu.surfaces import Surfaces, room_for

        device, (height, width) = self._context.device_id, self.get_input_shape()
        surfaces = Surfaces(
            self._context,
            lambda: JpegDecoder(device, MOST_TOGETHER, (width, height)),
            room_for(self._context.memory_bytes()[1]),
        )
        try:
            loaders = [lane.open_loader(decoders.take, self.choice.form, surfaces) for lane in lanes]
            for lane in lanes:
                lane.open_selector(self.choice.head)
        except self._context.driver.Error as error:
            _logger.warning("pictures are letterboxed on the CPU: %s", error)
            return PictureForm.ARRAY
        self._resources.surfaces = surfaces
        return PictureForm.JPEG if all(loader.decodes_jpeg for loader in loaders) else PictureForm.PIXELS

    def hold(self, picture: JpegPicture) -> HeldPicture | None:
        """Decodes a JPEG into GPU memory that its tiles are read from; as in `InferenceEngine`."""
        self._pool()  # raises EngineClosedError
        if self.open_pictures() is not PictureForm.JPEG or (surfaces := self._resources.surfaces) is None:
            return None
        driver_error = self._context.driver.Error
        try:
            try:
                return surfaces.hold(picture)
            except driver_error as error:
                with self._context.active():
                    self._context.memory_bytes()  # raises a sticky error again: then the GPU is lost
                _logger.warning("a picture in tiles is decoded on the CPU: %s", error)
                return None
        except driver_error as error:
            raise self._remember_lost(error) from error

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> Sequence[Found]:
        """Runs pictures that are decoded and letterboxed on the GPU."""
        self.open_pictures()
        head, batch = self.choice.head, self._resources.batch_size
        with self._on_lanes(1, len(pictures)) as (lane,):
            parts = [
                (part, *lane.run_pictures(part, head.outputs))
                for part in (pictures[start : start + batch] for start in range(0, len(pictures), batch))
            ]
        # Rows that the GPU does not make are made here, where the next batch already has the lane.
        found: list[Found] = []
        for part, errors, outputs, made in parts:
            selections = [one.selection for one, error in zip(part, errors, strict=True) if error is None]
            rows: Iterator[Found] = iter(()) if made is None else iter(made)
            if made is None and selections:
                rows = iter(head.rows(outputs, self.get_input_shape(), selections))
            found += [next(rows) if error is None else error for error in errors]
        return found

    def warm_up(self) -> None:
        """Creates execution contexts and CUDA graphs for every batch size of every lane."""
        with self._on_every_lane() as lanes:
            for lane in lanes:
                lane.warm_up()
        super().warm_up()

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        starts = range(0, len(data), self._resources.batch_size)
        with self._on_lanes(len(starts), len(data)) as lanes:
            outputs: list[NDArray[Any]] = []
            # While one lane computes, the next lane's input and the previous lane's output are copied.
            for position in range(len(starts) + len(lanes)):
                lane = lanes[position % len(lanes)]
                if (done := position - len(lanes)) >= 0:
                    first = starts[done]
                    parts = lane.collect(min(self._resources.batch_size, len(data) - first))
                    outputs = outputs or [np.empty((len(data), *part.shape[1:]), np.float32) for part in parts]
                    for output, part in zip(outputs, parts, strict=True):
                        output[first : first + len(part)] = part
                if position < len(starts):
                    lane.start(data[starts[position] : starts[position] + self._resources.batch_size])
            return outputs

    def _on_every_lane(self) -> AbstractContextManager[list[Lane]]:
        return self._on_lanes(self.lanes, 0, least=self.lanes)

    @contextmanager
    def _on_lanes(self, most: int, rows: int, least: int = 1) -> Iterator[list[Lane]]:
        """Yields lanes with the CUDA context current; raises ExecutionError or GpuLostError for their errors."""
        if self._lost:
            raise GpuLostError(self._lost)
        mark = self._trt.log.mark()
        driver_error = self._context.driver.Error
        try:
            with self._pool().take(most, least) as lanes, self._context.active():
                try:
                    yield lanes
                except (driver_error, ExecutionFailedError, LibcudaError) as error:
                    # Only a sticky error is raised again here: then the GPU is lost, else only this batch failed.
                    for lane in lanes:
                        lane.stream.synchronize()
                    words = "; ".join([str(error), *self._trt.log.errors_since(mark)[-3:]])
                    raise ExecutionError(f"{self.name} failed on {rows} rows: {words}") from error
        except LanePoolClosed:
            raise EngineClosedError(f"{self.name}: the engine is closed") from None
        except driver_error as error:
            raise self._remember_lost(error) from error

    def _pool(self) -> LanePool:
        if self._resources.pool is None:
            raise EngineClosedError(f"{self.name}: the engine is closed")
        return self._resources.pool

    def _remember_lost(self, error: Exception) -> GpuLostError:
        self._lost = f"{self.name}: GPU {self._context.device_id} is lost to this process: {error}"
        return GpuLostError(self._lost)

    def _release(self) -> None:
        self._finalizer()
