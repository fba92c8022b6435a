"""Parsing: bytes → `onnx.ModelProto`, with one clear error where they are none."""

from __future__ import annotations

from typing import Any

from azaion_engine.errors import ModelError


def parse_model(model_bytes: bytes) -> Any:
    """Parses an ONNX model; does not look for weights in other files.

    Args:
        model_bytes: Content of an ONNX file.

    Returns:
        The `onnx.ModelProto`; it has at least one node.

    Raises:
        ModelError: Not an ONNX model, or a damaged one.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(model_bytes)
    except Exception as error:  # protobuf's DecodeError is in a private module that moves between versions
        fault = " ".join(str(error).split())
    else:
        if model.graph.node:
            return model
        fault = "it has no graph"  # any bytes that end between two fields parse
    raise ModelError(
        f"not an ONNX file, or a damaged one ({len(model_bytes)} bytes): {fault}; export or download it again"
    )
