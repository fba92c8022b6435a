"""EngineResources: everything that one TensorRT engine has on the GPU or in pinned memory."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from azaion_engine.cuda.context import CudaContext
from azaion_engine.cuda.libcuda import LibcudaError
from azaion_engine.engines.tensorrt.api import TensorRT
from azaion_engine.engines.tensorrt.io_tensor import IoTensor
from azaion_engine.engines.tensorrt.run.compute_stream import ComputeStream
from azaion_engine.engines.tensorrt.run.lane import Lane, picture_input
from azaion_engine.engines.tensorrt.run.lane_pool import LanePool
from azaion_engine.engines.tensorrt.run.loaded_plan import LoadedPlan
from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.settings import DYNAMIC_SIZE
from azaion_engine.system.cores import available_cores

if TYPE_CHECKING:  # only pictures need OpenCV and Pillow
    from azaion_engine.pictures.gpu.surfaces import Surfaces

_logger = logging.getLogger(__name__)

LANES = 3
"""Batches on the GPU at a time: one computes while the others are copied, decoded or collected."""

_COPIERS = 12
"""Maximum number of threads that fill pinned memory: one core copies too slowly; more than 12 gain nothing."""

_EXIT_PATIENCE_S = 10.0
"""Timeout of freeing when a batch is still running, seconds; far longer than a batch takes."""


class EngineResources:
    """GPU resources of an engine, separate from it so that its finalizer can free them.

    Attributes:
        plan: The loaded plan; None before `load`.
        lanes: One for each batch at a time.
        pool: Hands the lanes out; None before `load` and after `free`.
        surfaces: The pictures of tiles; None before it is opened for pictures.
        batch_size: Rows per execution.
        size: (height, width) of the network input, in pixels.
        picture_shape: Shape of one picture in the network input.
        output_names: Names of the outputs, in order.
        dtype: Element type of the network input.
    """

    batch_size: int
    size: tuple[int, int]
    picture_shape: tuple[int, ...]
    output_names: tuple[str, ...]
    dtype: np.dtype[Any]

    def __init__(self, context: CudaContext) -> None:
        """Allocates no GPU memory yet."""
        self.context = context
        self.plan: LoadedPlan | None = None
        self.lanes: list[Lane] = []
        self.compute: ComputeStream | None = None
        self.pool: LanePool | None = None
        self.surfaces: Surfaces | None = None
        self.copiers = ThreadPoolExecutor(min(_COPIERS, available_cores()), "copy")

    def load(self, trt: TensorRT, plan: bytes, batch_size: int | None, height: int | None, width: int | None) -> None:
        """Deserialises the plan and allocates memory; the context must be current.

        Raises:
            PlanError: The plan cannot be used here.
            ConfigurationError: A batch or size outside the plan's profile, or not enough memory.
            ModelError: The plan takes no pictures or has no output.
            pycuda.driver.Error: Not enough memory.
            ExecutionFailedError: TensorRT refuses a shape.
        """
        self.plan = LoadedPlan(trt, plan)
        picture = picture_input(self.plan.tensors)
        self.output_names = self.plan.output_names
        if not self.output_names:
            raise ModelError("the plan has no output")
        low, _, high = picture.profile
        self.batch_size = _choose_batch(picture, batch_size)
        rows, columns = (2, 3) if picture.shape[1] == 3 else (1, 2)
        self.size = (
            _choose_size("height", picture.shape[rows], low[rows], high[rows], height),
            _choose_size("width", picture.shape[columns], low[columns], high[columns], width),
        )
        self.picture_shape = (3, *self.size) if rows == 2 else (*self.size, 3)
        self.dtype = picture.dtype
        most = max(self.batch_size, low[0])
        self.compute = ComputeStream(self.context.driver, self.plan.scratch_bytes)
        make_lane = partial(Lane, self.context, self.plan, self.compute, most, self.picture_shape, self.copiers)
        self.lanes.append(make_lane())
        while len(self.lanes) < LANES:
            try:
                self.lanes.append(make_lane())
            except (self.context.driver.MemoryError, ConfigurationError) as error:
                _logger.warning("batches at a time: %d, the GPU has no room for more: %s", len(self.lanes), error)
                break
        self.pool = LanePool(self.lanes)

    def free(self) -> None:
        """Frees everything; each object goes before what it refers to."""
        # At interpreter exit a daemon thread may still be running a batch on this memory.
        if self.pool is not None and not self.pool.close(_EXIT_PATIENCE_S):
            _logger.warning("a batch is still running: its GPU memory is left to the end of the process")
            return
        self.pool = None
        self.copiers.shutdown()
        try:
            with self.context.active():
                for lane in self.lanes:
                    lane.free()
                self.lanes.clear()
                if self.surfaces is not None:
                    self.surfaces.free()
                if self.compute is not None:
                    self.compute.free()
                    self.compute = None
                if self.plan is not None:
                    self.plan.free()
        except (self.context.driver.Error, LibcudaError) as error:
            # On a lost GPU nothing can be freed, and nothing needs to be: the whole context is gone.
            _logger.warning("cannot free the engine's GPU memory: %s", error)


def _choose_batch(picture: IoTensor, wanted: int | None) -> int:
    largest = picture.shape[0] if picture.shape[0] >= 0 else picture.profile[2][0]
    if wanted is not None and not 1 <= wanted <= largest:
        raise ConfigurationError(f"batch_size {wanted} is outside what this engine was built for: 1 to {largest}")
    # A fixed batch cannot be reduced: smaller batches are padded.
    return largest if wanted is None or picture.shape[0] >= 0 else wanted


def _choose_size(side: str, fixed: int, low: int, high: int, wanted: int | None) -> int:
    if fixed >= 0:
        return fixed
    if wanted is None:
        return min(max(DYNAMIC_SIZE, low), high)
    if not low <= wanted <= high:
        raise ConfigurationError(f"{side} {wanted} is outside what this engine was built for: {low} to {high}")
    return wanted
