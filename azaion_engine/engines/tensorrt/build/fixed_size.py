"""Fixed size: gives a model with a dynamic height and width the size that it is built for."""

from __future__ import annotations

from typing import Any

from azaion_engine.model.extras import value_of
from azaion_engine.model.info import ModelInfo
from azaion_engine.model.plugins import cut_plugin
from azaion_engine.pictures.input_form import layout_of


def fix_size(model: Any, info: ModelInfo, height: int, width: int) -> None:
    """Fixes height and width, so that all shape arithmetic can be folded; the batch stays as it is.

    Inputs beside the picture become constants, and a suppression plugin is taken out.

    Args:
        model: `onnx.ModelProto`; changed in place.
        info: Its properties.
        height: Of the network input, in pixels.
        width: Likewise.
    """
    import onnx

    cut_plugin(model)
    picture = next(value for value in model.graph.input if value.name == info.input.name)
    planes = layout_of(info.input.shape) == "nchw"
    wanted = (None, 3, height, width) if planes else (None, height, width, 3)
    for extra in info.extras:
        value = next(value for value in model.graph.input if value.name == extra.name)
        model.graph.input.remove(value)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value_of(extra, height, width), extra.name))
    for dim, given, size in zip(picture.type.tensor_type.shape.dim, info.input.shape, wanted, strict=True):
        if given < 0 and size is not None:
            dim.dim_value = size
