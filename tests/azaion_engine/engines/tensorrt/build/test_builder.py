"""builder: with the real TensorRT-RTX, whose builder needs no GPU; weak typing (8.6, 10) on a fake of 8.6."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from graphlib import CycleError
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from azaion_engine.cuda import context as cuda_context
from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.build import builder as engine_builder
from azaion_engine.engines.tensorrt.build import progress as build_progress
from azaion_engine.engines.tensorrt.build.builder import BuildOptions, build_plan
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
from azaion_engine.errors import ConfigurationError, EngineBuildError, MissingDependencyError, ModelError
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_gpu import install
from tests.azaion_engine.fakes.fake_modelopt import quantised
from tests.azaion_engine.models import make_detector
from tests.azaion_engine.real_rtx import install_rtx

SMALL = BuildOptions(batch_size=2, height=64, width=96)


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real TensorRT-RTX, without a GPU."""
    monkeypatch.setattr(engine_builder, "gpu_available", lambda: False)
    return install_rtx(monkeypatch)


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake TensorRT 8.6 on a fake GPU; yields the fake `tensorrt` module."""
    fake = FakeCuda([PhysicalGpu("NVIDIA H200", "GPU-aaaa", "0000:1B:00.0", memory_bytes=100 * 2**20)])
    module = install(fake, monkeypatch)
    module.cuda = fake
    yield module
    assert fake.idle(), "a context was left pushed"
    installed.forget()


# --- the real TensorRT-RTX -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"height": None, "width": None},
        {"batch": 4},
        {"io_dtype": "float16"},
        {"batch": 1, "height": None, "width": 96},
        {"named_nodes": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_builds_a_plan(rtx: Any, model: Any, precision: Any) -> None:
    plan = build_plan(make_detector(**model), BuildOptions(batch_size=2, height=64, width=96, precision=precision))
    assert len(plan) > 10_000
    assert not plan[4:].startswith(b"{"), "a plan is a plan, metadata goes beside it"


def test_convert_from_onnx_gives_a_plan(rtx: Any) -> None:
    plan = TensorRTEngine.convert_from_onnx(make_detector())
    assert isinstance(plan, bytes)
    assert len(plan) > 10_000


def test_an_unknown_operator_names_its_node(rtx: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = make_detector(unknown_op=True)
    with pytest.raises(EngineBuildError, match=r"node /head/mystery \(Mystery\)"):
        build_plan(model, SMALL)
    caplog.clear()
    assert TensorRTEngine.convert_from_onnx(model) is None
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any("/head/mystery" in error for error in errors)


def test_broken_files_give_none_and_an_error(rtx: Any, caplog: pytest.LogCaptureFixture) -> None:
    whole = make_detector()
    for broken in (b"", b"no ONNX at all", whole[: len(whole) // 2]):
        caplog.clear()
        assert TensorRTEngine.convert_from_onnx(broken) is None
        assert "cannot convert the ONNX model" in caplog.text
        with pytest.raises(ModelError):
            build_plan(broken, SMALL)


def test_a_tensor_that_nobody_makes_is_the_parsers_error(rtx: Any) -> None:
    model = onnx.load_model_from_string(make_detector())
    next(n for n in model.graph.node if n.name == "/head/predict").input[0] = "nobody"
    with pytest.raises(EngineBuildError, match=r"/head/predict|nobody"):
        build_plan(model.SerializeToString(), BuildOptions(precision="fp32"))


def test_what_tensorrt_says_is_in_the_error(rtx: Any) -> None:
    model = onnx.load_model_from_string(make_detector(batch=1))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 5, 5], np.int64), "small"))
    model.graph.node[0].input[0] = "reshaped"
    model.graph.node.insert(0, helper.make_node("Reshape", ["images", "small"], ["reshaped"], name="impossible"))
    with pytest.raises(EngineBuildError, match=r"(?i)impossible.*reshape"):
        build_plan(model.SerializeToString(), BuildOptions(precision="fp32"))


def test_batch_must_be_positive() -> None:
    with pytest.raises(ConfigurationError, match="batch_size"):
        BuildOptions(batch_size=0)


def test_progress_is_logged_while_tensorrt_works(
    rtx: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_progress, "REPORT_INTERVAL_S", 0.02)
    with caplog.at_level(logging.INFO):
        build_plan(make_detector(), SMALL)
    lines = [r.getMessage() for r in caplog.records if r.name == "azaion_engine.engines.tensorrt.build.progress"]
    assert all(re.match(r"building TensorRT engine: \d+ s elapsed, ", line) for line in lines)
    assert len([line for line in lines if "choosing kernels" in line]) > 2, "TensorRT held the interpreter"
    assert any(re.search(r"choosing kernels for FP16: .+ \d+ %", line) for line in lines)
    time.sleep(0.1)
    assert lines == [
        r.getMessage() for r in caplog.records if r.name == "azaion_engine.engines.tensorrt.build.progress"
    ]


def test_progress_reports_at_least_every_ten_seconds() -> None:
    assert build_progress.REPORT_INTERVAL_S <= 10


def test_without_tensorrt_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    installed.forget()
    with pytest.raises(MissingDependencyError, match="pip install tensorrt"):
        build_plan(make_detector(), SMALL)
    assert TensorRTEngine.convert_from_onnx(make_detector()) is None


@pytest.mark.parametrize("error", [ValueError("no such op"), CycleError("a", ["b"]), TypeError("null"), RuntimeError()])
def test_what_the_converter_raises_becomes_a_build_error(
    rtx: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def convert(model: Any) -> Any:
        raise error

    monkeypatch.setattr(engine_builder, "convert_to_mixed", convert)
    with pytest.raises(EngineBuildError, match=type(error).__name__) as caught:
        build_plan(make_detector(), SMALL)
    assert caught.value.__cause__ is error
    assert TensorRTEngine.convert_from_onnx(make_detector()) is None
    assert "Traceback" in caplog.text
    assert "in convert" in caplog.text


def test_a_driver_error_becomes_a_build_error(weak: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def mem_get_info() -> Any:
        raise weak.cuda.Error("unspecified launch failure")

    monkeypatch.setattr(weak.cuda.module, "mem_get_info", mem_get_info)
    with pytest.raises(EngineBuildError, match="launch failure"):
        build_plan(make_detector(), SMALL)


def test_convert_from_onnx_never_raises(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def build(model: bytes) -> bytes:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr(engine_builder, "build_plan", build)
    assert TensorRTEngine.convert_from_onnx(b"") is None
    assert "nobody thought of this" in caplog.text
    assert "Traceback" in caplog.text


# --- weakly typed TensorRT -----------------------------------------------------------------------


def test_plain_tensorrt_without_a_gpu_says_what_is_missing(weak: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigurationError, match="no usable GPU"):
        build_plan(make_detector(), SMALL)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingDependencyError, match="PyCUDA cannot be loaded"):
        build_plan(make_detector(), SMALL)


def test_weak_typing_keeps_the_head_in_fp32(weak: Any) -> None:
    build_plan(make_detector(), SMALL)
    ((network, config),) = weak.builds
    assert config.flags == {"FP16", "PREFER_PRECISION_CONSTRAINTS"}
    free = {layer.name for layer in network.layers if layer.precision is None}
    held = {layer.name: layer for layer in network.layers if layer.precision is not None}
    assert {layer.precision.name for layer in held.values()} == {"FLOAT"}
    assert {"/head/predict", "/head/topk"} <= set(held)
    assert {"/backbone/conv0", "/backbone/conv1"} <= free
    # The index output of TopK must stay INT32; casts and integer layers keep their types.
    assert set(held["/head/topk"].output_types) == {0}
    for layer in network.layers:
        if layer.type.name == "CAST" or layer.outputs[0].dtype.name != "FLOAT":
            assert layer.precision is None, layer.name


def test_weak_fp32_needs_no_flags_but_with_half_inputs_every_layer_is_held(weak: Any) -> None:
    build_plan(make_detector(), BuildOptions(precision="fp32"))
    build_plan(make_detector(io_dtype="float16"), BuildOptions(precision="fp32"))
    plain, half = weak.builds
    assert plain[1].flags == set()
    assert half[1].flags == {"FP16", "PREFER_PRECISION_CONSTRAINTS"}
    assert {la.precision.name for la in half[0].layers if la.type.name == "CONVOLUTION"} == {"FLOAT"}


def test_gpu_without_fast_fp16_builds_in_fp32(weak: Any, caplog: pytest.LogCaptureFixture) -> None:
    weak.Builder.platform_has_fast_fp16 = False
    build_plan(make_detector(), SMALL)
    assert weak.builds[0][1].flags == set()
    assert "no fast FP16" in caplog.text


def test_configuration_of_the_builder(weak: Any) -> None:
    build_plan(make_detector(height=None, width=None), SMALL)
    build_plan(make_detector(batch=4), BuildOptions(optimization_level=1))
    (network, config), (_, second) = weak.builds
    assert config.pools == {"WORKSPACE": int(0.9 * 100 * 2**20)}
    assert config.builder_optimization_level == 3
    assert config.tactic_sources == 0b11000, "EDGE_MASK_CONVOLUTIONS | JIT_CONVOLUTIONS"
    assert network.get_input(0).shape == (-1, 3, 64, 96)
    assert config.profiles[0].shapes == {"images": ((1, 3, 64, 96), (2, 3, 64, 96), (2, 3, 64, 96))}
    assert (second.builder_optimization_level, second.profiles) == (1, [])
    for wrong, complaint in (
        ({"optimization_level": 9}, "0 to 5, given 9"),
        ({"precision": "fp8"}, "fp32, given 'fp8'"),
    ):
        with pytest.raises(ConfigurationError, match=complaint):
            BuildOptions(**wrong)


def test_workspace_is_clamped_to_what_is_free(weak: Any) -> None:
    context = cuda_context.cuda_context(0)
    with context.active():
        taken = weak.cuda.module.mem_alloc(30 * 2**20)
        free = context.memory_bytes()[0]
    build_plan(make_detector(), SMALL)
    assert weak.builds[0][1].pools == {"WORKSPACE": free}
    with context.active():
        taken.free()


def test_a_quantised_model_gets_the_flag_for_int8_beside_its_precision(
    weak: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = quantised(make_detector(), tmp_path, monkeypatch)
    build_plan(model, SMALL)
    build_plan(model, BuildOptions(precision="fp32"))
    (network, half), (_, full) = weak.builds
    assert half.flags == {"FP16", "INT8", "PREFER_PRECISION_CONSTRAINTS"}
    assert full.flags == {"INT8"}
    assert {"/head/predict", "/head/topk"} <= {layer.name for layer in network.layers if layer.precision is not None}


def test_fp8_is_refused_where_networks_cannot_be_strongly_typed(
    weak: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_model_from_string(quantised(make_detector(), tmp_path, monkeypatch))
    for weight in model.graph.initializer:
        if "zero_point" in weight.name:
            weight.data_type = onnx.TensorProto.FLOAT8E4M3FN
    with pytest.raises(EngineBuildError, match=r"TensorRT 8.6.0 cannot compute in FP8.*INT8 runs here"):
        build_plan(model.SerializeToString(), SMALL)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_quantised_model_becomes_a_plan(
    rtx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    model = quantised(make_detector(channels=32), tmp_path, monkeypatch)
    assert len(build_plan(model, BuildOptions(batch_size=2, precision=precision))) > 10_000


def test_dynamic_size_becomes_1280(weak: Any) -> None:
    build_plan(make_detector(height=None, width=None), BuildOptions(batch_size=1))
    assert weak.builds[0][0].get_input(0).shape == (-1, 3, 1280, 1280)


def test_old_tensorrt_tells_nodes_by_index_and_still_they_are_named(weak: Any) -> None:
    with pytest.raises(EngineBuildError, match=r"TensorRT 8.6.0 .*node /head/mystery \(Mystery\): In node 7"):
        build_plan(make_detector(unknown_op=True), SMALL)
