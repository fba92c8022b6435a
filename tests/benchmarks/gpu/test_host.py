"""benchmarks.gpu.host: lanes, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu import host
from benchmarks.gpu.files import Files
from benchmarks.gpu.host import Lane, lanes_of, missing, ordered_cores, visible_gpus
from benchmarks.gpu.steps import cpu_steps


def test_each_gpu_has_an_equal_share_of_the_cores() -> None:
    assert lanes_of(["0", "1"], range(5)) == [Lane(("0",), (0, 1)), Lane(("1",), (2, 3))]
    assert lanes_of(["3"], [4, 5]) == [Lane(("3",), (4, 5))]


def test_without_a_gpu_there_is_one_lane() -> None:
    assert lanes_of([], [0, 1]) == [Lane((), (0, 1))]


def test_gpus_without_a_core_of_their_own_share_them() -> None:
    assert [lane.cores for lane in lanes_of(["0", "1", "2"], [0, 1])] == [(0, 1)] * 3


def test_halves_share_no_physical_core(tmp_path: Path) -> None:
    for number, (socket, core) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)] * 2):  # second threads come last
        topology = tmp_path / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{socket}\n")
        (topology / "core_id").write_text(f"{core}\n")
    assert ordered_cores(range(8), tmp_path) == [0, 4, 1, 5, 2, 6, 3, 7]
    assert ordered_cores([3, 1], tmp_path / "none") == [1, 3]


def test_hidden_gpus_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert visible_gpus() == ["2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(host, "_missing_haproxy", lambda: "no HAProxy")
    monkeypatch.setattr(host, "_GPU_IMPORTS", ("import json", "raise OSError('libnvinfer.so: not found')"))
    assert missing(["no_such_module_of_ours"], needs_gpu=True, root=tmp_path) == [
        *host.PATHS,
        "raise OSError('libnvinfer.so: not found'): libnvinfer.so: not found",
        "import no_such_module_of_ours: No module named 'no_such_module_of_ours'",
        "no HAProxy",
        "a GPU that NVML sees",
    ]


def test_every_step_without_a_gpu_can_be_imported_here(tmp_path: Path) -> None:
    steps = cpu_steps(Files(tmp_path, engine="onnx"))
    assert missing([step.module for step in steps], needs_gpu=False) == []


def test_an_import_that_crashes_is_told() -> None:
    [told] = host.failing(["import os; os._exit(7)"])
    assert told.startswith("imports end with 7")


def test_pytest_is_asked_for_only_where_tests_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_IMPORTS", ())
    monkeypatch.setattr(host, "_PYTEST_IMPORTS", ("import no_such_plugin",))
    assert missing(["json"], needs_gpu=False) == []
    assert missing(["pytest"], needs_gpu=False) == ["import no_such_plugin: No module named 'no_such_plugin'"]
