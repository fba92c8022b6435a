"""LoadedPlan: a deserialised plan that makes any number of execution contexts."""

from __future__ import annotations

import logging
import threading
from typing import Any

from azaion_engine.engines.tensorrt.api import TensorRT
from azaion_engine.engines.tensorrt.io_tensor import IoTensor

logger = logging.getLogger(__name__)


class LoadedPlan:
    """A plan on the GPU; every method needs the CUDA context current.

    Attributes:
        tensors: Inputs and outputs.
        output_names: Names of the outputs, in order.
        scratch_bytes: GPU memory that an execution needs besides inputs, outputs and weights.
        shares: Whether all contexts use one engine. False for plans that TensorRT 8.6 built without profile sharing:
            their optimisation profile belongs to one context, so each further context gets its own engine and weights.
    """

    def __init__(self, trt: TensorRT, plan: bytes) -> None:
        """Deserialises the plan.

        Raises:
            PlanError: Truncated, corrupt, or of another TensorRT or GPU.
            ConfigurationError: The GPU is out of memory or fails.
            ModelError: A tensor has a type that is not supported.
        """
        self._trt = trt
        self._plan = plan
        self._lock = threading.Lock()
        self._loaded = [trt.deserialize(plan)]
        engine = self._loaded[0][1]
        self.tensors: list[IoTensor] = trt.io_tensors(engine)
        self.output_names = tuple(tensor.name for tensor in self.tensors if not tensor.is_input)
        self.scratch_bytes = trt.scratch_bytes(engine)
        self.shares = True
        self._used = False

    def make_context(self, scratch: int) -> Any:
        """Makes an execution context in scratch memory of the caller.

        Args:
            scratch: Address of `scratch_bytes` of GPU memory; no other context may use it at the same time.

        Raises:
            ConfigurationError: Usually not enough GPU memory.
        """
        with self._lock:
            if self.shares or not self._used:
                context = self._trt.create_execution_context(self._loaded[0][1], scratch, self.scratch_bytes)
                if self._trt.choose_profile(context):
                    self._used = True
                    return context
                logger.info("the plan does not share its optimisation profile: each context loads it anew")
                self.shares = False
            self._loaded.append(self._trt.deserialize(self._plan))
            return self._trt.create_execution_context(self._loaded[-1][1], scratch, self.scratch_bytes)

    def free(self) -> None:
        """Frees the engines; all contexts must be freed before."""
        while self._loaded:
            runtime, engine = self._loaded.pop()
            del engine  # before the runtime that made it
            del runtime
