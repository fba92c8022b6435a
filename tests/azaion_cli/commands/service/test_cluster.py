"""`azaion cluster check`: one table of all nodes, what does not go together, and the exit code; starts no Ray."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from azaion_cli import joining
from azaion_cli.checks.check import Check
from azaion_cli.checks.cluster import ClusterNode, cluster_checks
from azaion_cli.checks.node import NodeReport, OpenPort, report_of_node
from azaion_cli.commands.service import cluster
from azaion_cli.exit_codes import ExitCode
from azaion_engine.version import __version__
from tests.azaion_cli.conftest import Ran
from tests.azaion_cli.test_joining import listening

Cli = Callable[..., Ran]
VERSIONS = {"azaion-engine": "1.0", "Python": "3.13.1", "Ray": "2.60.0", "ONNX Runtime": "1.32.0"}


def report(**changes: Any) -> NodeReport:
    values: dict[str, Any] = {
        "host": "host",
        "versions": VERSIONS,
        "gpus": [],
        "cache": "/cache",
        "engines": 0,
        "engine_bytes": 0,
        "token": True,
    }
    return NodeReport(**{**values, **changes})


def node(number: int, ray_gpus: float = 0, **changes: Any) -> ClusterNode:
    return ClusterNode(f"10.0.0.{number}", f"id{number}", number == 1, ray_gpus, report(**changes))


HEAD = node(1, ports=[OpenPort(port, "::", "raylet") for port in (6379, 8265, 8000, 9, 8, 7, 6, 8000)])
GPUS = node(2, 2, gpus=["NVIDIA H100"] * 2, engines=3, engine_bytes=42_000_000)


def test_nodes_that_go_together_are_a_table_and_no_check(azaion: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_look", lambda *_: [HEAD, GPUS])
    ran = azaion("cluster", "check")
    assert ran.code == ExitCode.OK
    lines = ran.out.splitlines()
    assert lines[0].split() == ["node", "versions", "GPUs", "engines", "token", "open", "ports"]
    assert lines[1].startswith("10.0.0.1 (head)  azaion-engine 1.0, Python 3.13.1, Ray 2.60.0")
    assert lines[1].endswith("6 7 8 9 6379 8000 and 1 more")
    assert "2 × NVIDIA H100" in lines[2]
    assert "3, 42.0 MB  on " in lines[2]
    assert len(lines) == 3
    assert "2 nodes, 0 problems, 0 warnings" in ran.err
    as_json = azaion("cluster", "check", "--json").json
    assert (as_json["ok"], as_json["checks"]) == (True, [])
    assert as_json["nodes"][1]["report"]["gpus"] == ["NVIDIA H100"] * 2


@pytest.mark.parametrize(
    ("other", "name", "status", "found"),
    [
        ({"versions": {**VERSIONS, "azaion-engine": "0.9"}}, "azaion-engine differs", "problem", "0.9 on 10.0.0.3"),
        ({"versions": {**VERSIONS, "Ray": "2.61.0"}}, "Ray differs", "problem", "2.60.0 on 10.0.0.1, 10.0.0.2; 2.61.0"),
        ({"versions": {**VERSIONS, "ONNX Runtime": "1.17"}}, "ONNX Runtime differs", "warning", "1.17 on 10.0.0.3"),
        ({"ray_gpus": 2, "gpus": ["one"]}, "GPUs", "problem", "10.0.0.3: Ray counts 2, the driver shows 1"),
        ({"checks": [Check("memory", "warning", "1 GB", "more")]}, "memory", "warning", "10.0.0.3: 1 GB"),
    ],
)
def test_what_does_not_go_together_is_told_with_the_nodes(
    other: dict[str, Any], name: str, status: str, found: str
) -> None:
    [check] = cluster_checks([HEAD, GPUS, node(3, **other)])
    assert (check.name, check.status) == (name, status)
    assert found in check.found
    assert check.advice


def test_what_several_nodes_found_alike_is_one_check_and_the_worst_comes_first() -> None:
    full = Check("memory", "warning", "1 GB", "more")
    off = Check("Ray's token", "problem", "off", "turn it on")
    well = Check("Ray Serve", "ok", "2.60.0")
    found = list(cluster_checks([node(1, checks=[full, well]), node(2, checks=[full, off])]))
    assert [(each.name, each.found) for each in found] == [
        ("Ray's token", "10.0.0.2: off"),
        ("memory", "10.0.0.1, 10.0.0.2: 1 GB"),
    ]


def test_a_node_that_does_not_answer_is_a_problem(azaion: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = ClusterNode("10.0.0.9", "id9", False, 4, None, "no answer within 60 s")
    monkeypatch.setattr(cluster, "_look", lambda *_: [HEAD, silent])
    ran = azaion("cluster", "check")
    assert ran.code == ExitCode.ENVIRONMENT
    row = ran.out.splitlines()[2].split()
    assert row == ["10.0.0.9", "no", "answer", "4", "by", "Ray", "?", "?", "?"]
    assert "no answer within 60 s" in ran.out
    assert azaion("cluster", "check", "--json").json["nodes"][1]["report"] is None


def test_without_a_ray_it_says_how_to_name_one(azaion: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(joining, "_daemons", lambda proc: {})
    ran = azaion("cluster", "check")
    assert ran.code == ExitCode.ENVIRONMENT
    assert "RAY_ADDRESS=HOST:6379" in ran.err
    for wrong in ("127.0.0.1:1", "nonsense"):
        ran = azaion("cluster", "check", "--address", wrong)
        assert ran.code == ExitCode.ENVIRONMENT
        assert f"no Ray answers at {wrong}" in ran.err
        assert "RAY_ADDRESS" not in os.environ, "who runs later would join it"


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "HTTP"])
def test_what_listens_and_is_no_ray_is_refused_within_the_timeout(
    azaion: Cli, monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    with listening(greeting) as address:
        began = time.monotonic()
        ran = azaion("cluster", "check", "--address", address, "--timeout", "3")
        took_s = time.monotonic() - began
    assert ran.code == ExitCode.ENVIRONMENT
    assert f"what listens at {address} does not answer as a Ray does within 3 s" in ran.err
    assert took_s < 20


def test_a_report_comes_back_whole_from_a_process_that_sees_the_gpus_ray_hides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pynvml.py").write_text(
        "import os\n"
        "class NVMLError(Exception): pass\n"
        "def nvmlInit(): pass\n"
        "def nvmlShutdown(): pass\n"
        "def nvmlSystemGetDriverVersion(): return b'580.1'\n"
        "def nvmlDeviceGetCount(): return 0 if 'CUDA_VISIBLE_DEVICES' in os.environ else 2\n"
        "def nvmlDeviceGetHandleByIndex(index): return index\n"
        "def nvmlDeviceGetName(handle): return b'GPU %d' % handle\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = NodeReport.from_dict({**report_of_node(str(tmp_path / "cache"), 60), "of_a_later_version": 1})
    assert found.gpus == ["GPU 0", "GPU 1"]
    assert found.versions["azaion-engine"] == __version__
    assert found.cache == str(tmp_path / "cache")
    assert "memory" in {check.name for check in found.checks}
    assert NodeReport.from_dict(asdict(found)) == found


def test_a_process_that_fails_is_told_by_its_last_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "platformdirs.py").write_text("raise ImportError('no platformdirs here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="ended with status 1: ImportError: no platformdirs here"):
        report_of_node(None, 60)
