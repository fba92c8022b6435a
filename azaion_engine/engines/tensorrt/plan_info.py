"""PlanInfo: tensors, layers and memory of a plan; reading them needs the GPU and TensorRT it was built for."""

from __future__ import annotations

from dataclasses import dataclass

from azaion_engine.cuda.context import cuda_context
from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.io_tensor import IoTensor


@dataclass(frozen=True)
class PlanInfo:
    """A plan's tensors and layers.

    Attributes:
        tensors: Inputs and outputs with their shapes and profile.
        layers: Names of the layers in order of execution; TensorRT fuses several of the model's layers into one.
        memory_bytes: GPU scratch memory of one execution, in bytes.
    """

    tensors: tuple[IoTensor, ...]
    layers: tuple[str, ...]
    memory_bytes: int

    @classmethod
    def from_plan(cls, plan: bytes, device_id: int = 0) -> PlanInfo:
        """Deserialises a plan and reads its properties.

        Args:
            plan: The serialised plan.
            device_id: CUDA index of the GPU as this process sees it.

        Raises:
            PlanError: The plan cannot be used here.
            ConfigurationError: This process sees no such GPU.
            MissingDependencyError: TensorRT or PyCUDA is not installed.
        """
        trt = installed.load()
        with cuda_context(device_id).active():
            runtime, engine = trt.deserialize(plan)
            info = cls(tuple(trt.io_tensors(engine)), trt.layer_names(engine), trt.scratch_bytes(engine))
            del engine, runtime  # engine before runtime, while the context is current
        return info
