"""`azaion quantize`: the table, the tolerance and the file, with ONNX Runtime's quantisation in ModelOpt's place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azaion_cli.exit_codes import ExitCode
from azaion_engine.model.info import ModelInfo
from tests.azaion_cli.conftest import Ran
from tests.azaion_engine.fakes import fake_modelopt
from tests.azaion_engine.models import make_detector

Cli = Callable[..., Ran]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_modelopt.install(monkeypatch)
    fake_modelopt.pictures(tmp_path / "pictures")
    path = tmp_path / "tiny.onnx"
    path.write_bytes(make_detector(seed=13, k=20))
    return path


def run(azaion: Cli, model: Path, *more: object, engine: str = "onnx") -> Ran:
    pictures = model.parent / "pictures"
    return azaion("quantize", model, "--pictures", pictures, "--engine", engine, "--seconds", 0.1, *more)


def test_writes_a_model_beside_the_original_and_prints_both_precisions(azaion: Cli, model: Path) -> None:
    broken = model.parent / "pictures/broken.jpg"
    broken.write_bytes(b"no picture")
    ran = run(azaion, model, "--tolerance", 1)
    assert ran.code == ExitCode.OK, ran.err
    made = model.with_name("tiny.int8.onnx")
    assert ModelInfo.from_onnx(made.read_bytes()).quantised == "int8"
    assert [line.split()[0] for line in ran.out.splitlines() if line] == ["precision", "fp32", "int8", "wrote"]
    assert f"skipped: {broken}" in ran.err
    assert "calibrating int8 on pictures of 64x64" in ran.err
    assert sorted(path.name for path in model.parent.iterdir()) == ["pictures", "tiny.int8.onnx", "tiny.onnx"]


def test_beyond_the_tolerance_no_file_is_left_and_the_exit_code_says_so(
    azaion: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azaion_engine.quantisation import comparison

    whole = comparison._rows_of
    calls: list[int] = []

    def lossy(found: Any) -> Any:
        calls.append(1)
        return whole(found) if len(calls) <= 4 else whole(found)[:5]

    monkeypatch.setattr(comparison, "_rows_of", lossy)
    ran = run(azaion, model)
    assert ran.code == ExitCode.TOLERANCE_MISSED
    assert "boxes again" in ran.err
    assert "the tolerance is 10.0%" in ran.err
    assert "int8" in ran.out, "the table tells how far it is off"
    assert sorted(path.name for path in model.parent.iterdir()) == ["pictures", "tiny.onnx"]


def test_with_labels_average_precision_decides(azaion: Cli, model: Path) -> None:
    annotations = model.parent / "val.json"
    pictures = model.parent / "pictures"
    options = ("--engine", "onnx", "-c", 0.669, "--format", "coco", "--output", annotations)
    assert azaion("detect", pictures, "--model", model, *options).code == ExitCode.OK
    annotations = annotations.rename(pictures / "val.json")
    ran = run(azaion, model, "--labels", pictures, "--tolerance", 1, "--json")
    assert ran.code == ExitCode.OK, ran.err
    fp32, int8 = ran.json["rows"]
    assert (fp32["precision"], fp32["map50"], fp32["drift"]) == ("fp32", 1, None)
    assert (int8["precision"], ran.json["calibrated"]) == ("int8", 4)
    assert 0.3 < int8["map50"] <= 1
    assert int8["drift"]["boxes"] >= int8["drift"]["matched"] > 0
    assert min(fp32["rate"], int8["rate"]) > 0
    loss = fp32["map50"] - int8["map50"]
    if loss > 0:
        refused = run(azaion, model, "--labels", pictures, "--tolerance", loss / 2)
        assert refused.code == ExitCode.TOLERANCE_MISSED
        assert "of mAP50" in refused.err


def test_on_a_gpu_fp16_is_measured_too_and_tensorrt_builds_all_three(
    azaion: Cli, model: Path, h200: Any, tmp_path: Path
) -> None:
    ran = run(azaion, model, "--tolerance", 1, "--cache-dir", tmp_path / "cache", "--json", engine="auto")
    assert ran.code == ExitCode.OK, ran.err
    assert [row["precision"] for row in ran.json["rows"]] == ["fp32", "fp16", "int8"]
    assert [config.flags for _, config in h200.builds] == [
        set(),
        {"FP16", "PREFER_PRECISION_CONSTRAINTS"},
        {"FP16", "INT8", "PREFER_PRECISION_CONSTRAINTS"},
    ]
    manifests = [path.read_text() for path in (tmp_path / "cache").rglob("*.json")]
    assert sum('"int8+fp16"' in text for text in manifests) == 1


def test_what_is_missing_is_said_before_the_work(azaion: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(azaion, model, "--out", model.parent / "nowhere/out.onnx")
    assert (ran.code, "no such folder" in ran.err) == (ExitCode.USAGE, True)
    for given in (model, model.parent / "pictures"):
        ran = run(azaion, model, "--out", given)
        assert (ran.code, ran.err.count("\n")) == (ExitCode.USAGE, 1)
    monkeypatch.setitem(sys.modules, "modelopt", None)
    monkeypatch.delitem(sys.modules, "modelopt.onnx.quantization")
    ran = run(azaion, model)
    assert ran.code == ExitCode.ENVIRONMENT
    assert "azaion-engine[quantize]" in ran.err
