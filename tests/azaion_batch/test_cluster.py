"""Workers: how many a cluster has room for, and the Ray that a job starts, without starting one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import ray
from ray._private import utils

from azaion_batch.cluster import READS, TASK_CPUS, WRITES, Workers, find_workers, running_ray
from azaion_engine.errors import ConfigurationError
from azaion_engine.settings import EngineChoice


@pytest.mark.parametrize(
    ("nodes", "engine", "wanted", "expected"),
    [
        ([{"CPU": 16, "GPU": 1}], "auto", None, Workers(3, 1, 0.32, 5, 1, shared=True)),
        ([{"CPU": 16, "GPU": 8}], "tensorrt", None, Workers(24, 0.3515625, 0.32, 2, 1, shared=True)),
        ([{"CPU": 16, "GPU": 2}, {"CPU": 16, "GPU": 2}], "auto", None, Workers(12, 1, 0.32, 2, 2, shared=True)),
        ([{"CPU": 16, "GPU": 2}], "auto", 1, Workers(3, 1, 0.32, 2, 1, shared=True)),
        ([{"CPU": 16, "GPU": 2}], "auto", 9, Workers(6, 1, 0.32, 2, 1, shared=True)),
        ([{"CPU": 1, "GPU": 1}], "auto", None, Workers(3, 0.01953125, 0.32, 2, 1, shared=True)),
        ([{"CPU": 2, "GPU": 2}], "auto", None, Workers(6, 0.01953125, 0.32, 2, 1, shared=True)),
        ([{"CPU": 16, "GPU": 2}], "onnx", None, Workers(1, 15.8125, 0, 16, 1)),
        ([{"CPU": 2}], "auto", None, Workers(1, 1.8125, 0, 2, 1)),
        ([{"CPU": 8}, {"CPU": 4}], "auto", 4, Workers(4, 1.8125, 0, 2, 2)),
    ],
)
def test_workers(
    nodes: list[dict[str, float]],
    engine: EngineChoice,
    wanted: int | None,
    expected: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_cluster(monkeypatch, nodes)
    assert find_workers(engine, wanted) == expected


def test_cores_that_others_hold_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cluster(monkeypatch, [{"CPU": 8}], free=3)
    assert find_workers("onnx", None).cpus == 2.8125


@pytest.mark.parametrize(("cores", "wanted"), [(1, None), (2, 4), (2, 9), (16, 3)])
def test_beside_the_workers_there_is_room_to_read_and_to_write(
    cores: int, wanted: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cluster(monkeypatch, [{"CPU": cores}])
    workers = find_workers("onnx", wanted)
    assert workers.most * (workers.cpus + (READS + WRITES) * TASK_CPUS) <= cores


@pytest.mark.parametrize("nodes", [[{"CPU": 16, "GPU": 2}], [{"CPU": 2}]], ids=["GPUs", "none"])
def test_a_second_pass_has_room_beside_the_workers_of_the_first(
    nodes: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cluster(monkeypatch, nodes)
    first = find_workers("auto", None)
    second = first.apart()
    gpus = int(nodes[0].get("GPU", 0))
    assert (second.most, second.shared) == (gpus or first.most, False)
    assert first.most * first.gpus + second.most * second.gpus <= gpus
    one_reads_one_writes = 2 * TASK_CPUS
    assert first.most * first.cpus + second.most * second.cpus + one_reads_one_writes <= nodes[0]["CPU"]


def test_tensorrt_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cluster(monkeypatch, [{"CPU": 8}])
    with pytest.raises(ConfigurationError, match="this Ray has no GPU"):
        find_workers("tensorrt", None)


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**how: Any) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(ConfigurationError, match=r"no Ray cluster at 127\.0\.0\.1:1: nobody answers"),
        running_ray("127.0.0.1:1"),
    ):
        pass


def test_a_ray_of_its_own_that_does_not_start_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(**how: Any) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", wait)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        pytest.raises(ConfigurationError, match="Ray does not start on this machine: The current node timed out"),
        running_ray(None),
    ):
        pass


def test_a_command_line_that_is_not_utf_8_is_text_for_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", lambda **how: noted.append(utils.get_entrypoint_name()))
    monkeypatch.setattr(utils, "get_entrypoint_name", lambda: "azaion batch \udce9.png")
    with running_ray("auto"):
        pass
    assert noted == ["azaion batch \\xe9.png"]


def test_a_ray_of_its_own_is_on_loopback() -> None:
    program = """
from azaion_batch.cluster import prepare_own_ray
prepare_own_ray()
from ray._private import services
print(services.get_node_ip_address())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip() == "127.0.0.1", ran.stderr


def on_cluster(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], free: float | None = None) -> None:
    cores = sum(node["CPU"] for node in nodes) if free is None else free
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": cores})
