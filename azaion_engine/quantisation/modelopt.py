"""ModelOpt: NVIDIA's quantisation of ONNX models. It chooses the places and the scales of the Q/DQ pairs."""

from __future__ import annotations

import copy
import io
import logging
import re
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

from azaion_engine.engines.tensorrt.build.fixed_size import fix_size
from azaion_engine.engines.tensorrt.build.mixed_precision import widen_to_float32
from azaion_engine.errors import ModelError
from azaion_engine.extras import import_extra
from azaion_engine.model.info import ModelInfo
from azaion_engine.model.parsing import parse_model
from azaion_engine.quantisation.calibration import CalibrationPictures
from azaion_engine.quantisation.left_out import left_out
from azaion_engine.quantisation.pairs import carry_pairs

logger = logging.getLogger(__name__)

Format = Literal["int8", "fp8"]

_LEAST_OPSET = {"int8": 13, "fp8": 19}
"""First opset of ONNX with scales for each channel, and with 8-bit floats (onnx/docs/Changelog.md, QuantizeLinear)."""


def require_modelopt() -> Callable[..., None]:
    """Loads ModelOpt, which takes seconds, and returns its function `quantize`.

    Raises:
        MissingDependencyError: It is not installed; the message names the extra.
    """
    modelopt = import_extra("modelopt.onnx.quantization", "NVIDIA ModelOpt", "pip install 'azaion-engine[quantize]'")
    loaded: Callable[..., None] = modelopt.quantize
    return loaded


def quantise(model_bytes: bytes, pictures: CalibrationPictures, size: tuple[int, int], format: Format) -> bytes:
    """Quantises a detector; the head stays in floating point (`left_out`).

    Args:
        model_bytes: The ONNX file, with all its weights.
        pictures: What the ranges of the activations are measured on.
        size: (height, width) of those, in pixels.
        format: `int8`, or `fp8` (E4M3), which TensorRT runs from version 10 on.

    Returns:
        The same model with Q/DQ pairs: same names, same metadata, same dynamic dimensions. An FP16 export comes back in
        FP32; its inputs and outputs keep their types.

    Raises:
        MissingDependencyError: ModelOpt is not installed.
        ModelError: The model is quantised already, or cannot be quantised; carries ModelOpt's words.
    """
    quantize = require_modelopt()
    import onnx

    info = ModelInfo.from_onnx(model_bytes)
    if info.quantised is not None:
        raise ModelError(f"the model is quantised already ({info.quantised}): give the one that it was made from")
    model = parse_model(model_bytes)
    widen_to_float32(model)
    model = _raise_opset(model, _LEAST_OPSET[format])
    kept = left_out(model)
    logger.info("%d of %d nodes stay in floating point", len(kept), len(model.graph.node))
    work = copy.deepcopy(model)
    fix_size(work, info, *size)
    with tempfile.TemporaryDirectory(prefix="azaion-quantise-") as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "quantised.onnx")
        onnx.save(work, str(source))
        del work
        spoken = io.StringIO()  # progress bars, and lines on stdout, where results go
        try:
            with redirect_stdout(spoken), redirect_stderr(spoken):
                quantize(
                    str(source),
                    quantize_mode=format,
                    calibration_data_reader=pictures,
                    calibration_eps=["cpu"],
                    nodes_to_exclude=[f"{re.escape(name)}$" for name in kept],  # ModelOpt matches from the start
                    high_precision_dtype="fp32",
                    output_path=str(target),
                    log_level="ERROR",
                )
            quantised = onnx.load(str(target))
        except Exception as error:  # ModelOpt and what it stands on raise errors of any kind
            logger.debug("ModelOpt said: %s", spoken.getvalue())
            raise ModelError(
                f"ModelOpt cannot quantise the model: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
    pairs = carry_pairs(quantised, model)
    if not pairs:
        raise ModelError("ModelOpt found nothing to quantise in the model")
    logger.info("%d tensors are quantised to %s", pairs, format)
    return bytes(model.SerializeToString())


def _raise_opset(model: Any, least: int) -> Any:
    """Returns the model in an opset that has what the pairs need; the same model if it is in one already."""
    import onnx

    found = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), least)
    if found >= least:
        return model
    try:
        return onnx.version_converter.convert_version(model, least)
    except Exception as error:  # a RuntimeError, whose kinds onnx does not document
        raise ModelError(
            f"the model is in opset {found}, quantisation needs {least}, and onnx cannot convert it: {error}; "
            f"export it with opset {least} or later"
        ) from error
