"""`azaion doctor`: what is installed, what is missing, and when the exit code says failure."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azaion_cli.checks import network
from azaion_cli.checks.listeners import Listener, listeners
from azaion_cli.exit_codes import ExitCode
from azaion_engine.engines.tensorrt import installed
from azaion_engine.pictures.gpu import nvjpeg
from azaion_engine.system import memory
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
    for module in ("pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, module, None)
    ran = azaion("doctor", "--json")
    assert (ran.code, ran.json["ok"]) == (ExitCode.ENVIRONMENT, False)
    assert checks(ran)["GPU"]["status"] == "problem"


def test_a_gpu_that_tensorrt_rtx_does_not_run_on_is_a_problem(
    azaion: Cli, h200: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "_FLAVOURS", ("tensorrt_rtx",))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", h200)
    installed.forget()
    ran = azaion("doctor", "--json")
    assert ran.code == ExitCode.ENVIRONMENT
    assert "does not run on compute capability 9.0" in checks(ran)["TensorRT"]["found"]


def test_a_cache_that_cannot_be_written_is_a_problem(azaion: Cli, no_gpu: None) -> None:
    ran = azaion("doctor", "--cache-dir", "/proc/cache", "--json")
    assert ran.code == ExitCode.ENVIRONMENT
    assert checks(ran)["engine cache"]["status"] == "problem"


def test_each_of_several_models_is_checked(azaion: Cli, no_gpu: None, tmp_path: Path) -> None:
    good = Path(__file__).parents[4] / "configs" / "several_models.yaml"
    assert checks(azaion("doctor", good, "--json"))["configuration"]["status"] == "ok"
    bad = tmp_path / "bad.yaml"
    for wrong, words in (
        (("tiles: auto", "tils: auto"), "models.aerial-tiles.tils"),
        (("demo\n", "gone.onnx\n"), "gone"),
    ):
        bad.write_text(good.read_text().replace(*wrong))
        assert words in checks(azaion("doctor", bad, "--json"))["configuration"]["found"]


def test_a_configuration_is_checked_without_starting_anything(azaion: Cli, no_gpu: None, tmp_path: Path) -> None:
    good = Path(__file__).parents[4] / "configs" / "cpu.yaml"
    ran = azaion("doctor", good, "--json")
    assert (ran.code, checks(ran)["configuration"]["status"]) == (ExitCode.OK, "ok")
    bad = tmp_path / "bad.yaml"
    for wrong, words in (
        (("max_queue: 32", "max_qeue: 32"), "max_qeue"),
        (("model: demo", "model: /nowhere/cars.onnx"), "/nowhere/cars.onnx"),
        (("port: 8000", "port: none"), "port"),
        (("max_queue: 32", "max_queue: 32\n      max_queue: 64"), "'max_queue' is there twice"),
        (("proxy_location: EveryNode", "{"), str(bad)),
    ):
        bad.write_text(good.read_text().replace(*wrong))
        ran = azaion("doctor", bad, "--json")
        assert ran.code == ExitCode.ENVIRONMENT, wrong
        assert words in checks(ran)["configuration"]["found"]
        assert checks(ran)["configuration"]["advice"]


def test_little_room_is_a_warning_and_no_failure(
    azaion: Cli, no_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = shutil.disk_usage(tmp_path)._replace(total=64 * 2**20, free=64 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small)
    monkeypatch.setattr(memory, "available_memory", lambda: 2**30)
    ran = azaion("doctor", "--json")
    assert (ran.code, ran.json["ok"]) == (ExitCode.OK, True)
    found = checks(ran)
    for name in ("engine cache", "Ray's folder", "memory", "shared memory"):
        assert (found[name]["status"], found[name]["advice"] != "") == ("warning", True), name
    assert "--shm-size" in found["shared memory"]["advice"]


def test_a_machine_without_a_haproxy_is_slower(azaion: Cli, no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/bin/false")
    ran = azaion("doctor", "--json")
    assert (ran.code, checks(ran)["HAProxy"]["status"]) == (ExitCode.OK, "warning")


@pytest.mark.parametrize(
    ("mode", "address", "status"),
    [
        ("token", "::", "ok"),
        ("disabled", "::ffff:127.0.0.1", "warning"),
        ("disabled", "::", "problem"),
    ],
)
def test_a_ray_without_its_token_that_others_reach_is_a_problem(
    azaion: Cli, no_gpu: None, monkeypatch: pytest.MonkeyPatch, mode: str, address: str, status: str
) -> None:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "RAY_AUTH_MODE": mode}) as daemon:
        try:
            here = Listener(6379, address, daemon.pid, "/somewhere/ray/core/src/ray/gcs/gcs_server --port 6379")
            monkeypatch.setattr(network, "listeners", lambda: [here])
            ran = azaion("doctor", "--json")
        finally:
            daemon.kill()
    token, ports = checks(ran)["Ray's token"], checks(ran)["ports"]
    assert token["status"] == status
    assert ("RAY_AUTH_MODE=token" in token["advice"]) == (status != "ok")
    assert ran.code == (ExitCode.ENVIRONMENT if status == "problem" else ExitCode.OK)
    assert ports["status"] == ("warning" if address == "::" else "ok")
    assert ("6379 (gcs_server)" in ports["found"]) == (address == "::")


def test_the_listening_sockets_of_this_machine_are_known_with_their_processes() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        for server, address in ((four, "127.0.0.1"), (six, "::1")):
            [found] = [each for each in listeners() if each.port == server.getsockname()[1]]
            assert (found.address, found.pid, found.is_local) == (address, os.getpid(), True)
            assert "python" in found.process
    assert Listener(1, "::ffff:127.0.0.1", 0, "").is_local
    assert not Listener(1, "0.0.0.0", 0, "").is_local
    assert not Listener(1, "::", 0, "").is_local
