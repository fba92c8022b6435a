"""quantise: with ONNX Runtime's quantisation in ModelOpt's place, and with ModelOpt itself (marker `quantize`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.engines.tensorrt.build.mixed_precision import convert_to_mixed
from azaion_engine.errors import MissingDependencyError, ModelError
from azaion_engine.model.info import ModelInfo
from azaion_engine.pictures.input_form import InputForm
from azaion_engine.quantisation.calibration import CalibrationPictures
from azaion_engine.quantisation.modelopt import quantise
from tests.azaion_engine.fakes import fake_modelopt
from tests.azaion_engine.models import make_batch, make_detector, reference_run

SIZE = (64, 64)


def calibration(folder: Path) -> CalibrationPictures:
    return CalibrationPictures(fake_modelopt.pictures(folder), "images", SIZE, InputForm())


def readers(model: Any, name: str) -> list[Any]:
    return [node for node in model.graph.node if name in node.input]


def check_quantised(made: bytes, original: bytes) -> None:
    """Everything but the pairs is as it was, the backbone has pairs, the head and the biases have none."""
    model, before = onnx.load_model_from_string(made), onnx.load_model_from_string(original)
    onnx.checker.check_model(model, full_check=True)
    assert model.metadata_props == before.metadata_props
    assert model.opset_import == before.opset_import
    assert model.ir_version == before.ir_version
    assert model.graph.input == before.graph.input
    assert model.graph.output == before.graph.output
    producer = {output: node for node in model.graph.node for output in node.output}
    by_name = {node.name: node for node in model.graph.node}
    backbone = by_name["/backbone/conv1"]
    assert [producer[name].op_type for name in backbone.input[:2]] == ["DequantizeLinear"] * 2
    assert all(name not in producer for name in backbone.input[2:]), "a bias is quantised"
    assert by_name["/head/predict"].input == next(n for n in before.graph.node if n.name == "/head/predict").input
    assert ModelInfo.from_onnx(made).quantised == "int8"
    assert ModelInfo.from_onnx(original).quantised is None


@pytest.mark.parametrize("size", [64, None])
def test_only_the_pairs_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None) -> None:
    original = make_detector(height=size, width=size)
    made = fake_modelopt.quantised(original, tmp_path, monkeypatch)
    check_quantised(made, original)
    data = make_batch(3)
    with OnnxEngine(made, height=64, width=64) as engine, OnnxEngine(original, height=64, width=64) as reference:
        [ours], [theirs] = engine.run(data), reference.run(data)
    assert not np.array_equal(ours, theirs), "nothing was quantised"
    assert np.abs(ours[:, 0, 4] - theirs[:, 0, 4]).max() < 0.05


def test_strongly_typed_builds_get_half_scales_in_an_opset_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fake_modelopt.quantised(make_detector(), tmp_path, monkeypatch)
    mixed = convert_to_mixed(onnx.load_model_from_string(made))
    onnx.checker.check_model(mixed, full_check=True)
    weights = {weight.name: weight.data_type for weight in mixed.graph.initializer}
    scales = {weights[node.input[1]] for node in mixed.graph.node if node.op_type == "DequantizeLinear"}
    assert scales == {onnx.TensorProto.FLOAT16}
    assert mixed.opset_import[0].version == 19
    [ours], [theirs] = (reference_run(one, make_batch(2)) for one in (mixed.SerializeToString(), made))
    assert np.abs(ours[:, 0] - theirs[:, 0]).max() < 0.2


def test_a_half_export_keeps_the_types_of_its_input_and_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake_modelopt.quantised(make_detector(io_dtype="float16"), tmp_path, monkeypatch)
    info = ModelInfo.from_onnx(made)
    assert (info.input.dtype, info.outputs[0].dtype, info.quantised) == ("float16", "float16", "int8")


def test_modelopts_prints_stay_out_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_modelopt.quantised(make_detector(), tmp_path, monkeypatch)
    assert capsys.readouterr().out == ""


def test_without_modelopt_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelopt", None)
    monkeypatch.delitem(sys.modules, "modelopt.onnx.quantization", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'azaion-engine\[quantize\]'"):
        quantise(make_detector(), calibration(tmp_path), SIZE, "int8")


def test_a_quantised_model_is_not_quantised_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake_modelopt.quantised(make_detector(), tmp_path, monkeypatch)
    with pytest.raises(ModelError, match="quantised already"):
        quantise(made, calibration(tmp_path), SIZE, "int8")


def test_what_modelopt_raises_is_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **options: object) -> None:
        raise AssertionError("no such partition")

    fake_modelopt.install(monkeypatch, fails)
    with pytest.raises(ModelError, match="ModelOpt cannot quantise the model: AssertionError: no such partition"):
        quantise(make_detector(), calibration(tmp_path), SIZE, "int8")


@pytest.mark.quantize
def test_modelopt_quantises_the_backbone(tmp_path: Path) -> None:
    original = make_detector(channels=32, batch=1)
    check_quantised(quantise(original, calibration(tmp_path), SIZE, "int8"), original)


@pytest.mark.quantize
def test_modelopt_quantises_to_8_bit_floats(tmp_path: Path) -> None:
    made = quantise(make_detector(channels=32, batch=1), calibration(tmp_path), SIZE, "fp8")
    assert ModelInfo.from_onnx(made).quantised == "fp8"
    assert np.isfinite(reference_run(made, make_batch(1))[0]).all()
