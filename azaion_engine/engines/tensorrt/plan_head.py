"""Plan head: the head of a plan, which has no metadata, from its tensors alone."""

from __future__ import annotations

from collections.abc import Sequence

from azaion_engine.engines.tensorrt.io_tensor import IoTensor
from azaion_engine.heads.base import Signature, TensorInfo
from azaion_engine.heads.choice import Choice, choose
from azaion_engine.heads.end_to_end import EndToEnd


def choice_of_plan(tensors: Sequence[IoTensor], size: tuple[int, int]) -> Choice:
    """Recognises the head of a plan.

    Args:
        tensors: Its inputs and outputs.
        size: (height, width) of the network input, in pixels.

    Raises:
        ModelError: The plan is no detector.
    """
    described = [TensorInfo(t.name, t.dtype.name, t.shape) for t in tensors]
    outputs = tuple(t for t, io in zip(described, tensors, strict=True) if not io.is_input)
    if len(outputs[0].shape) == 3 and outputs[0].shape[2] == 6:  # what this engine's plans are by contract
        return Choice(EndToEnd(outputs[0].name))
    picture = next(t for t, io in zip(described, tensors, strict=True) if io.is_input)
    return choose(Signature(picture, (), outputs, {}, size))
