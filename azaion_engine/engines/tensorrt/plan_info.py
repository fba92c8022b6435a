"""PlanInfo: what a TensorRT plan says of itself; it takes the GPU and the TensorRT it was built for to read it."""

from __future__ import annotations

from dataclasses import dataclass

from azaion_engine.cuda.context import cuda_context
from azaion_engine.engines.tensorrt import api as tensorrt_api
from azaion_engine.engines.tensorrt.api import IoTensor


@dataclass(frozen=True)
class PlanInfo:
    """A plan's tensors and layers.

    Attributes:
        tensors: Inputs and outputs with their shapes and profile.
        layers: Names of the layers in the order of execution; TensorRT joins several of the model's into one.
        memory_bytes: Scratch memory on the GPU that one execution takes, in bytes.
    """

    tensors: tuple[IoTensor, ...]
    layers: tuple[str, ...]
    memory_bytes: int

    @classmethod
    def from_plan(cls, plan: bytes, device_id: int = 0) -> PlanInfo:
        """Deserialises a plan and asks it.

        Args:
            plan: The serialised plan.
            device_id: CUDA index of the GPU as this process sees it.

        Raises:
            PlanError: The plan cannot be used here.
            ConfigurationError: This process sees no such GPU.
            MissingDependencyError: TensorRT or PyCUDA is not installed.
        """
        trt = tensorrt_api.load()
        with cuda_context(device_id).active():
            runtime, engine = trt.deserialize(plan)
            info = cls(tuple(trt.io_tensors(engine)), trt.layer_names(engine), trt.scratch_bytes(engine))
            del engine, runtime  # in this order, while the context is current
        return info
