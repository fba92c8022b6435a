"""Opening an engine with TensorRT: where plans are stored, and when they are rebuilt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.engines.tensorrt.build import builder as engine_builder
from azaion_engine.errors import ModelError
from azaion_engine.model.file import ModelFile
from azaion_engine.opening import checked_build
from azaion_engine.opening.engine import open_engine
from azaion_engine.plans.manifest import PlanManifest
from azaion_engine.settings import DetectorSettings
from tests.azaion_engine.fakes.fake_h200 import fake_h200
from tests.azaion_engine.models import make_detector

MODEL = ModelFile("tiny", make_detector())


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A fake GPU with a fake TensorRT; yields the list of its builds."""
    with fake_h200(monkeypatch) as (_, tensorrt):
        yield tensorrt.builds


def start(cache: Path, **settings: Any) -> InferenceEngine:
    chosen = DetectorSettings(**{"engine": "tensorrt", "cache_dir": cache, "batch_size": 2, **settings})
    engine = open_engine(MODEL, chosen)
    engine.close()
    return engine


def test_the_key_tells_of_gpu_and_recipe(builds: list[Any], tmp_path: Path) -> None:
    start(tmp_path)
    [file] = tmp_path.rglob("azaion.cc_9.0_sm_132.engine.json")
    key = PlanManifest.from_json(file.read_bytes()).key
    assert (key.gpu_memory_gib, key.recipe) == (140, engine_builder.BUILD_RECIPE)
    assert file.parent.name == f"tiny-{key.folder_hash()}"


def test_the_engine_tells_whether_it_was_built_or_loaded(builds: list[Any], tmp_path: Path) -> None:
    origins = [start(tmp_path).origin for _ in range(2)]
    assert [origin.action for origin in origins] == ["built", "loaded"]
    assert all(origin.seconds > 0 for origin in origins)
    assert start(tmp_path, engine="onnx").origin is None


def test_two_configurations_of_a_model_do_not_rebuild_over_each_other(builds: list[Any], tmp_path: Path) -> None:
    for precision in ("fp16", "fp32", "fp16", "fp32"):
        start(tmp_path, precision=precision)
    assert len(builds) == 2


def test_a_new_recipe_builds_again(
    builds: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start(tmp_path)
    monkeypatch.setattr(engine_builder, "BUILD_RECIPE", 99)
    start(tmp_path)
    assert len(builds) == 2
    assert "build recipe: built with 3, this is 99" in caplog.text


def test_a_built_engine_is_compared_with_onnx_runtime_once(builds: list[Any], tmp_path: Path) -> None:
    built, loaded = (start(tmp_path).origin for _ in range(2))
    assert built is not None
    assert loaded is not None
    assert built.agreement is not None
    assert built.agreement.precision == "fp16"
    assert built.agreement.boxes == built.agreement.matched
    assert loaded.agreement == built.agreement
    [file] = tmp_path.rglob("*.engine.json")
    assert PlanManifest.from_json(file.read_bytes()).agreement == built.agreement


def test_an_engine_that_answers_other_boxes_is_built_in_fp32(
    builds: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    box = np.array([[1, 2, 30, 40, 0.9, 0]], np.float32)

    def rows(engine: InferenceEngine, confidence: float) -> list[np.ndarray]:
        drifts = not isinstance(engine, OnnxEngine) and len(builds) == 1
        return [box + np.float32(9) * drifts, box]

    monkeypatch.setattr(checked_build, "rows_of_samples", rows)
    origin = start(tmp_path).origin
    assert origin is not None
    assert len(builds) == 2
    assert (origin.agreement.precision, origin.agreement.matched) == ("fp32", 2)
    assert "the engine in fp16: 1 of 2 boxes as with ONNX Runtime" in caplog.text
    assert "built in FP32 instead" in caplog.text
    assert start(tmp_path).origin.action == "loaded"
    start(tmp_path, precision="fp32")
    assert len(builds) == 3, "whoever asks for FP32 has a plan of his own"


def test_a_model_that_only_tensorrt_runs_is_not_compared_and_built_in_fp32(
    builds: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: Any) -> OnnxEngine:
        raise ModelError("an operator that only TensorRT has")

    monkeypatch.setattr(checked_build, "open_on_cpu", refuse)
    origin = start(tmp_path).origin
    assert origin is not None
    assert origin.agreement is None
    assert "in FP32, because its boxes cannot be compared with ONNX Runtime's: an operator" in caplog.text
    [(_, config)] = builds
    assert "FP16" not in config.flags
