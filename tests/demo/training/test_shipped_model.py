"""Tests of the shipped model on a few scenes: format, class names and precision as demo/README.md states."""

from __future__ import annotations

import onnx
import pytest

from azaion_engine.model.file import ModelFile
from demo.scenes.objects import CLASS_NAMES
from demo.scenes.scene import render_scene
from demo.training.evaluate import HELD_OUT_SEED, evaluate, onnx_detector


@pytest.fixture(scope="module")
def shipped() -> ModelFile:
    return ModelFile.read("demo")


def test_it_is_a_small_plain_detector_that_names_its_classes(shipped: ModelFile) -> None:
    assert len(shipped.data) <= 10_000_000
    [opset] = onnx.load_model_from_string(shipped.data).opset_import
    assert opset.version <= 17
    assert shipped.info.input.shape[1] == 3
    assert shipped.info.outputs[0].shape[1:] == (300, 6)
    assert shipped.info.names == dict(enumerate(CLASS_NAMES))


def test_it_finds_what_is_in_scenes_it_was_not_trained_on(shipped: ModelFile, tmp_path) -> None:
    (tmp_path / "demo.onnx").write_bytes(shipped.data)
    scenes = [render_scene(HELD_OUT_SEED + index, 1280, 1280) for index in range(2)]
    report = evaluate(onnx_detector(str(tmp_path / "demo.onnx")), [(s.picture, s.boxes) for s in scenes])
    assert report.mean >= 0.9
