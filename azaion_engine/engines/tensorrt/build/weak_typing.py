"""Weak typing: FP16 with an FP32 box head, for TensorRT 8.6 and 10."""

from __future__ import annotations

from typing import Any

from azaion_engine.engines.tensorrt.build.mixed_precision import LIGHT_WEIGHTS, GraphNode, precise_tail

_HEAVY_TYPES = (
    "CONVOLUTION",
    "DECONVOLUTION",
    "MATRIX_MULTIPLY",
    "FULLY_CONNECTED",
    "EINSUM",
    "LOOP_OUTPUT",
    "PLUGIN",
    "PLUGIN_V2",
    "PLUGIN_V3",
)
"""Names of `LayerType`; a plugin counts as heavy because nothing is known of it."""

_UNTOUCHED_TYPES = (
    # Their output type is fixed, or they have no precision; TensorRT refuses a change or warns of it.
    *("CONSTANT", "SHAPE", "CAST", "IDENTITY", "ASSERTION", "CONDITION", "CONDITIONAL_INPUT", "CONDITIONAL_OUTPUT"),
    *("TRIP_LIMIT", "ITERATOR", "RECURRENCE", "LOOP_OUTPUT", "QUANTIZE", "DEQUANTIZE", "NON_ZERO", "ONE_HOT"),
    *("PLUGIN", "PLUGIN_V2", "PLUGIN_V3"),
)


def constrain_precision(module: Any, network: Any, config: Any, *, everything: bool = False) -> list[str]:
    """Allows FP16 and keeps the box head in FP32.

    The graph is read from the layers' tensors, not from names: one ONNX node becomes several layers,
    most of them unnamed.

    Args:
        module: The TensorRT module.
        network: A parsed network.
        config: The builder configuration; gets the flags for FP16 and precision constraints.
        everything: Whether to keep all layers in FP32, not just the head.

    Returns:
        Names of the layers that were set to FP32.
    """
    config.set_flag(module.BuilderFlag.FP16)
    # PREFER, not OBEY: where a fused layer has no FP32 kernel, TensorRT warns and the build goes on.
    config.set_flag(module.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    nodes = [GraphNode(_names(_inputs(layer)), _names(_outputs(layer)), _is_heavy(layer)) for layer in layers]
    float32 = module.DataType.FLOAT
    constrained = []
    for index in range(len(nodes)) if everything else precise_tail(nodes):
        layer = layers[index]
        outputs = _outputs(layer)
        if layer.type.name in _UNTOUCHED_TYPES or not _computes_floats(outputs, float32):
            continue
        layer.precision = float32
        for position, tensor in enumerate(outputs):
            # TopK's second output is INT32 and must stay INT32.
            if tensor.dtype == float32:
                layer.set_output_type(position, float32)
        constrained.append(str(layer.name))
    return constrained


def _inputs(layer: Any) -> list[Any]:
    return [t for t in (layer.get_input(i) for i in range(layer.num_inputs)) if t is not None]


def _outputs(layer: Any) -> list[Any]:
    return [t for t in (layer.get_output(i) for i in range(layer.num_outputs)) if t is not None]


def _names(tensors: list[Any]) -> tuple[str, ...]:
    return tuple(str(tensor.name) for tensor in tensors)


def _computes_floats(outputs: list[Any], float32: Any) -> bool:
    # Shape tensors are computed on the CPU, before any kernel runs.
    return bool(outputs) and outputs[0].dtype == float32 and not any(tensor.is_shape_tensor for tensor in outputs)


def _is_heavy(layer: Any) -> bool:
    kind = layer.type.name
    return kind in _HEAVY_TYPES and not (
        (kind == "CONVOLUTION" and _channel_product(layer) <= LIGHT_WEIGHTS)
        or (kind == "MATRIX_MULTIPLY" and _volume(layer.get_input(1)) <= LIGHT_WEIGHTS)
    )


def _channel_product(layer: Any) -> int:
    """Returns the number of weights of an ungrouped 1x1 convolution; a lower bound for larger kernels."""
    given, made = tuple(layer.get_input(0).shape), tuple(layer.get_output(0).shape)
    if len(given) < 2 or len(made) < 2 or given[1] < 0 or made[1] < 0:
        return LIGHT_WEIGHTS + 1
    return int(given[1] * made[1])


def _volume(tensor: Any) -> int:
    volume = 1
    for size in tuple(tensor.shape):
        if size < 0:
            return LIGHT_WEIGHTS + 1
        volume *= int(size)
    return volume
