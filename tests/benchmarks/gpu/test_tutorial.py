"""benchmarks.gpu.tutorial and swap: what is checked beside the measurement itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from azaion_engine import Detector
from azaion_engine.model.file import ModelFile, sample_picture
from benchmarks.gpu.swap import make_next_version
from benchmarks.gpu.tutorial import BOX, faults_of
from tests.azaion_engine.models import make_detector


def record(**change: Any) -> dict[str, Any]:
    return {"exit_codes": {"doctor": 0, "build": 0}, "model": {"engine": "tensorrt-fp16"}, "boxes": [BOX], **change}


def test_what_the_tutorial_says_has_no_fault() -> None:
    assert faults_of(record(), "tensorrt") == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"exit_codes": {"doctor": 3}}, "doctor ended with 3"),
        ({"model": {"engine": "onnxruntime-cpu"}}, "GET /model says onnxruntime-cpu, expected tensorrt"),
        ({"boxes": []}, "0 boxes, expected 1"),
        ({"boxes": [{**BOX, "x1": 1160.0}]}, "the box is "),
    ],
)
def test_each_difference_is_told(change: dict[str, Any], told: str) -> None:
    [fault] = faults_of(record(**change), "tensorrt")
    assert fault.startswith(told)


def test_the_next_version_is_another_file_with_the_same_boxes(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.onnx" for name in ("first", "second", "third"))
    first.write_bytes(make_detector())
    make_next_version(first, second)
    make_next_version(first, third)
    assert len({ModelFile.read(str(path)).sha256 for path in (first, second, third)}) == 3
    found = []
    for path in (first, second):
        with Detector.open(model=str(path), engine="onnx") as detector:
            found.append(detector.detect(sample_picture(), confidence=0.01)[0].to_dicts())
    assert found[0] == found[1]
