"""A real cluster of Ray nodes: every node is asked, and replicas follow the load over nodes that join and die.

One module, as starting a cluster is slow; `python -m tests.chaos.cluster` is its longer form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from azaion_engine.version import __version__
from deployments.cluster.every_node import is_head, on_every_node
from deployments.cluster.token import token_is_on
from tests.chaos.cluster import ScaledService, scaled_service, table, up_and_down
from tests.deployments.cluster.ray_clusters import process_id
from tests.running_serve import end_ray

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def service() -> Iterator[ScaledService]:
    """An autoscaled service on a head without GPUs and a node with a logical one, which its replica holds."""
    end_ray()
    with scaled_service() as running:
        yield running


def test_cluster_check_tells_every_nodes_versions_gpus_engines_token_and_ports(
    service: ScaledService, tmp_path: Path
) -> None:
    folder = tmp_path / "model-0123456789ab"
    folder.mkdir()
    (folder / "azaion.cc_9.0_sm_132.engine").write_bytes(bytes(3_000_000))
    command = [sys.executable, "-m", "azaion_cli", "cluster", "check", "--address", service.cluster.address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [*command, "--json", "--cache-dir", str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = json.loads(ran.stdout)
    # The GPU is Ray's alone: a real replica that is placed there finds none.
    assert (ran.returncode, found["ok"]) == (3, False), ran.stderr
    assert [(node["is_head"], node["ray_gpus"]) for node in found["nodes"]] == [(True, 0), (False, 1)]
    for node in found["nodes"]:
        report = node["report"]
        assert report["versions"]["azaion-engine"] == __version__
        assert report["versions"]["Ray"] == ray.__version__
        assert (report["engines"], report["engine_bytes"], report["gpus"]) == (1, 3_000_000, [])
        assert report["token"] is token_is_on()  # the nodes have this process's mode, which an earlier `ray.init` sets
        assert "gcs_server" in {port["process"] for port in report["ports"]}
    [missing] = [each["found"] for each in found["checks"] if each["name"] == "GPUs"]
    assert missing.endswith(": Ray counts 1, the driver shows 0")


def test_nodes_whose_cpus_and_gpus_are_taken_answer_too_and_a_failure_is_told(service: ScaledService) -> None:
    assert ray.available_resources().get("GPU", 0) == 0
    answers = on_every_node(process_id, seconds=60)
    assert [is_head(answer.node) for answer in answers] == [True, False]
    assert len({answer.value for answer in answers}) == 2, "each in a process of its own node"
    for answer in on_every_node(os.path.getsize, "/there/is/no/such/file", seconds=60):
        assert answer.value is None
        assert answer.error.startswith("FileNotFoundError: ")
        assert "\n" not in answer.error


def test_no_request_is_lost_while_replicas_follow_the_load_and_nodes_join_and_die(service: ScaledService) -> None:
    steps = up_and_down(service, losses=1, replaced=False)
    told = table(steps)
    assert [step.replicas for step in steps] == [1, 4, 2, 1], told
    assert (service.load.lost, service.load.wrong) == ([], 0), told
    assert all(step.right > 0 for step in steps[1:]), told
