"""The benchmark of the shared engine: both ways are measured, and both answer every picture."""

from __future__ import annotations

from pathlib import Path

from benchmarks.library.shared_engine import measure


def test_both_ways_are_measured_in_turns(tmp_path: Path) -> None:
    found = measure(turns=2, pictures=96, clients=2, folder=tmp_path)
    assert [len(found[way]) for way in ("window", "socket")] == [2, 2]
    assert all(value >= 0 for way in ("window", "socket") for turn in found[way] for value in turn.values())
    assert found["ratio"] == found["medians"]["window"]["rate"] / found["medians"]["socket"]["rate"]
