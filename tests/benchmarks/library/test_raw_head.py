"""benchmarks.library.raw_head: the two files are measured in pairs of turns, and the spread of their ratios is told."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from azaion_engine import Detector
from benchmarks.library import raw_head
from tests.azaion_engine.models import make_detector


def test_both_files_take_turns_that_change_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"end_to_end": tmp_path / "end.onnx", "raw": tmp_path / "raw.onnx"}
    paths["end_to_end"].write_bytes(make_detector())
    paths["raw"].write_bytes(make_detector(output="raw"))
    turns: list[tuple[str, int]] = []
    measure = raw_head._rate

    def note(detector: Detector, picture: bytes, many: int) -> float:
        turns.append((detector.engine.choice.head.name, many))
        return measure(detector, picture, many)

    monkeypatch.setattr(raw_head, "_rate", note)
    options = argparse.Namespace(
        engine="onnx", precision="fp32", picture=None, cache=None, rounds=4, seconds=0.01, batch=2
    )
    found = raw_head.rate(paths, 64, 2, options)
    assert [name for name, _ in turns[-8:]] == ["end_to_end", "yolo", "yolo", "end_to_end"] * 2
    assert {many for _, many in turns[-8:]} == {found["pictures"]}
    assert [len(found["rates"][name]) for name in paths] == [4, 4]
    ratios = np.array(found["rates"]["raw"]) / np.array(found["rates"]["end_to_end"])
    assert found["raw_over_end_to_end"]["median"] == pytest.approx(np.median(ratios), abs=1e-3)
    assert found["batch_ms"] == {"end_to_end": {}, "raw": {}}, "on a GPU only"
    assert found["raw_over_end_to_end"]["extremes"][1] == pytest.approx(ratios.max(), abs=1e-3)


def test_the_interval_holds_the_true_median_in_nineteen_of_twenty_runs() -> None:
    random = np.random.default_rng(1)
    runs = [raw_head.spread(list(0.98 + 0.05 * random.standard_t(3, 30))) for _ in range(400)]
    held = [run["interval"][0] <= 0.98 <= run["interval"][1] for run in runs]
    assert 0.93 <= np.mean(held) <= 0.99
    widths = [run["interval"][1] - run["interval"][0] for run in runs]
    assert all(run["extremes"][0] <= run["quartiles"][0] <= run["median"] <= run["quartiles"][1] for run in runs)
    assert np.mean(widths) < 0.06
