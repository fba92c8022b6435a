"""Every node of a real cluster with mixed logical GPUs is asked, and `azaion cluster check` tells what each has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from azaion_engine.version import __version__
from deployments.cluster.every_node import is_head, on_every_node
from tests.deployments.cluster.ray_clusters import add_node, process_id, ray_cluster
from tests.running_serve import end_ray

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    end_ray()
    with ray_cluster({"num_cpus": 1}, {"num_cpus": 1, "num_gpus": 2}) as cluster:
        yield cluster


def test_every_node_tells_its_versions_gpus_engines_token_and_ports(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "model-0123456789ab"
    folder.mkdir()
    (folder / "azaion.cc_9.0_sm_132.engine").write_bytes(bytes(3_000_000))
    command = [sys.executable, "-m", "azaion_cli", "cluster", "check", "--address", cluster.address, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [*command, "--cache-dir", str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120
    )
    found = json.loads(ran.stdout)
    # The GPUs are Ray's alone: a replica that is placed there finds none.
    assert (ran.returncode, found["ok"]) == (3, False), ran.stderr
    assert [(node["is_head"], node["ray_gpus"]) for node in found["nodes"]] == [(True, 0), (False, 2)]
    for node in found["nodes"]:
        report = node["report"]
        assert report["versions"]["azaion-engine"] == __version__
        assert report["versions"]["Ray"] == ray.__version__
        assert (report["engines"], report["engine_bytes"], report["gpus"]) == (1, 3_000_000, [])
        assert report["token"] is False  # `Cluster` starts Ray as `ray start` does where there is no token
        assert "gcs_server" in {port["process"] for port in report["ports"]}
    [missing] = [each["found"] for each in found["checks"] if each["name"] == "GPUs"]
    assert missing.endswith(": Ray counts 2, the driver shows 0")


def test_nodes_whose_cpus_are_taken_answer_too_also_those_that_joined_and_a_failure_is_told(cluster: Cluster) -> None:
    ray.init(cluster.address, log_to_driver=False)
    try:

        @ray.remote(num_cpus=1)
        class Holder:
            def ready(self) -> bool:
                return True

        holders = [Holder.remote() for _ in range(2)]  # type: ignore[attr-defined]
        ray.get([holder.ready.remote() for holder in holders])
        node = add_node(cluster, num_cpus=0, num_gpus=4)
        answers = on_every_node(process_id, seconds=60)
        assert [answer.node["Resources"].get("GPU", 0) for answer in answers if is_head(answer.node)] == [0]
        assert sorted(answer.node["Resources"].get("GPU", 0) for answer in answers) == [0, 2, 4]
        assert len({answer.value for answer in answers}) == 3, "each in a process of its own node"
        cluster.remove_node(node)
        answers = on_every_node(os.path.getsize, "/there/is/no/such/file", seconds=60)
        assert len(answers) == 2
        for answer in answers:
            assert answer.value is None
            assert answer.error.startswith("FileNotFoundError: ")
            assert "\n" not in answer.error
    finally:
        ray.shutdown()
