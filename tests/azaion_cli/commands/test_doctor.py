"""`azaion doctor`: what is installed, what is missing, and when the exit code says failure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azaion_cli.exit_codes import ExitCode
from azaion_engine.engines.tensorrt import api as tensorrt_api
from azaion_engine.pictures.gpu import nvjpeg
from tests.azaion_cli.conftest import Ran

Cli = Callable[..., Ran]


def checks(ran: Ran) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in ran.json["checks"]}


def test_a_host_without_a_gpu_is_well_and_told_how_to_get_one_going(azaion: Cli, no_gpu: None, tmp_path: Path) -> None:
    ran = azaion("doctor", "--cache-dir", tmp_path / "cache", "--json")
    assert (ran.code, ran.json["ok"], ran.json["engine"]) == (ExitCode.OK, True, "onnxruntime-cpu")
    found = checks(ran)
    assert found["NVIDIA driver"]["status"] == found["GPU"]["status"] == "absent"
    assert "pip install pycuda" in found["GPU"]["advice"]
    assert found["Ray Serve"]["status"] == found["ONNX Runtime"]["status"] == "ok"
    assert not (tmp_path / "cache").exists(), "looking must not leave anything behind"
    shown = azaion("doctor")
    assert "onnxruntime-cpu" in shown.out


def test_a_gpu_with_all_it_needs(azaion: Cli, h200: Any) -> None:
    ran = azaion("doctor", "--json")
    assert (ran.code, ran.json["engine"]) == (ExitCode.OK, "tensorrt-8.6.0")
    found = checks(ran)
    assert "580.159.03, NVIDIA H200" in found["NVIDIA driver"]["found"]
    assert "compute capability 9.0, 132 SMs" in found["GPU"]["found"]
    assert "azaion.cc_9.0_sm_132.engine" in found["GPU"]["found"]


@pytest.mark.parametrize("there", [True, False])
def test_a_gpu_without_nvjpeg_is_slower_and_no_failure(
    azaion: Cli, h200: Any, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    if not there:
        monkeypatch.setattr(nvjpeg, "load_libraries", list)
    ran = azaion("doctor", "--json")
    assert ran.code == ExitCode.OK
    check = checks(ran)["nvJPEG"]
    assert (check["status"], check["found"]) == (
        ("ok", "13.3.2") if there else ("absent", "not installed: JPEGs are decoded on the CPU")
    )
    assert ("pip install" in check["advice"]) != there


def test_a_gpu_without_pycuda_is_a_problem(azaion: Cli, h200: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    ran = azaion("doctor", "--json")
    assert (ran.code, ran.json["ok"]) == (ExitCode.ENVIRONMENT, False)
    assert checks(ran)["GPU"]["status"] == "problem"


def test_a_gpu_that_tensorrt_rtx_does_not_run_on_is_a_problem(
    azaion: Cli, h200: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_api, "_FLAVOURS", ("tensorrt_rtx",))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", h200)
    tensorrt_api.forget()
    ran = azaion("doctor", "--json")
    assert ran.code == ExitCode.ENVIRONMENT
    assert "does not run on compute capability 9.0" in checks(ran)["TensorRT"]["found"]


def test_a_cache_that_cannot_be_written_is_a_problem(azaion: Cli, no_gpu: None) -> None:
    ran = azaion("doctor", "--cache-dir", "/proc/cache", "--json")
    assert ran.code == ExitCode.ENVIRONMENT
    assert checks(ran)["engine cache"]["status"] == "problem"
