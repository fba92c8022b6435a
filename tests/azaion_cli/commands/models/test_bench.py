"""`azaion bench`: the figures it reports, and that they are consistent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from azaion_cli.exit_codes import ExitCode
from tests.azaion_cli.conftest import Ran

Cli = Callable[..., Ran]


def test_measures_the_engine_at_every_batch_size_and_the_whole_way(azaion: Cli, tiny: Path) -> None:
    ran = azaion("bench", tiny, "--engine", "onnx", "--batch-size", 6, "--seconds", 0.1, "--json")
    assert ran.code == ExitCode.OK, ran.err
    rows = ran.json["batch_sizes"]
    assert [row["batch_size"] for row in rows] == [1, 2, 4, 6]
    for row in rows:
        assert row["p95_ms"] >= row["median_ms"] > 0
        assert row["pictures_per_s"] == pytest.approx(1000 * row["batch_size"] / row["median_ms"], rel=0.05)
    stages = ran.json["one_picture_ms"]
    assert stages["total"] >= stages["decode"] > 0
    assert ran.json["pipeline"]["pictures"] >= 18
    assert ran.json["pipeline"]["pictures_per_s"] > 0
    people = azaion("bench", tiny, "--engine", "onnx", "--seconds", 0.1).out
    for words in ("onnxruntime-cpu", "input 64x64", "engine alone", "many pictures"):
        assert words in people


def test_a_picture_that_cannot_be_decoded_is_an_error(azaion: Cli, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    ran = azaion("bench", tiny, "--engine", "onnx", "--seconds", 0.1, "--picture", tmp_path / "bad.jpg")
    assert ran.code == ExitCode.PICTURES_FAILED
    assert ran.err.count("\n") == 1
