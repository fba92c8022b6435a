"""Fake `modelopt`: `quantize` with the parameters that we use, done by ONNX Runtime on the convolutions alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

EXPECTED = {"calibration_eps": ["cpu"], "high_precision_dtype": "fp32", "log_level": "ERROR"}


def quantize(
    onnx_path: str, *, quantize_mode: str, calibration_data_reader: Any, nodes_to_exclude: list[str], output_path: str,
    **options: Any,
) -> None:  # fmt: skip
    """Reads the pictures twice, prints to stdout, and drops the metadata: so does ModelOpt."""
    assert options == EXPECTED
    assert quantize_mode == "int8"
    print("Collecting tensor data and making histogram ...")
    assert calibration_data_reader.get_first()
    while calibration_data_reader.get_next():
        pass
    calibration_data_reader.rewind()
    names = [node.name for node in onnx.load(onnx_path).graph.node]
    quantize_static(
        onnx_path,
        output_path,
        calibration_data_reader,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=[name for name in names if any(re.match(one, name) for one in nodes_to_exclude)],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "AddQDQPairToWeight": True},
    )
    model = onnx.load(output_path)
    del model.metadata_props[:]
    onnx.save(model, output_path)


def install(monkeypatch: pytest.MonkeyPatch, function: Any = quantize) -> None:
    """Puts the fake in the place of the real package, whether that is installed or not."""
    module: Any = ModuleType("modelopt.onnx.quantization")
    module.quantize = function
    for name in ("modelopt", "modelopt.onnx"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "modelopt.onnx.quantization", module)


def quantised(model: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] = (64, 64)) -> bytes:
    """Returns a detector with Q/DQ pairs, made by the library with the fake."""
    from azaion_engine.model.info import ModelInfo
    from azaion_engine.pictures.input_form import InputForm
    from azaion_engine.quantisation.calibration import CalibrationPictures
    from azaion_engine.quantisation.modelopt import quantise

    install(monkeypatch)
    form = InputForm(dtype=ModelInfo.from_onnx(model).input.dtype)  # type: ignore[arg-type]
    return quantise(model, CalibrationPictures(pictures(folder), "images", size, form), size, "int8")


def pictures(folder: Path, number: int = 4) -> list[Path]:
    """Writes pictures of smooth noise; returns their paths."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(number)]
    for index, path in enumerate(paths):
        coarse = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((96 + 8 * index, 80)).save(path)
    return paths
