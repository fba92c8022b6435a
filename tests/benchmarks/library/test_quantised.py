"""benchmarks.library.quantised: rows of each precision, and a failed build recorded with its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from azaion_engine.quantisation.comparison import Comparison
from benchmarks.library.quantised import _loss, _rate_over, measure
from tests.azaion_engine.fakes.fake_modelopt import pictures, quantised
from tests.azaion_engine.models import make_detector


def test_rows_of_both_models_and_the_words_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made, bad = (tmp_path / name for name in ("model.onnx", "made.onnx", "bad.onnx"))
    model.write_bytes(make_detector(seed=13, k=20))
    made.write_bytes(quantised(model.read_bytes(), tmp_path / "pictures", monkeypatch))
    bad.write_bytes(make_detector(unknown_op=True))
    comparison = Comparison(pictures(tmp_path / "pictures"), None, tolerance_px=4, seconds=0.1)
    rows = measure(str(model), str(made), comparison, {"engine": "onnx"}, on_gpu=False)
    assert [row["precision"] for row in rows] == ["fp32", "int8"]
    assert rows[1]["drift"]["boxes"] > 0
    assert _rate_over(rows, "fp32") == pytest.approx(rows[1]["rate"] / rows[0]["rate"], abs=0.001)
    assert _rate_over(rows, "fp16") is None
    assert _loss(rows) is None
    failed = measure(str(model), str(bad), comparison, {"engine": "onnx"}, on_gpu=False)[-1]
    assert "model_unsupported" in failed["error"]


def test_the_loss_of_average_precision_has_a_sign() -> None:
    assert _loss([{"map50": 0.99}, {"map50": 0.98}]) == 0.01
    assert _loss([{"map50": 0.98}, {"map50": 0.99}]) == -0.01
    assert _loss([{"map50": 0.98}, {"error": "no engine"}]) is None
