"""Placement on two nodes: one replica per GPU, and the loss of a node is made good on the other."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster

from azaion_engine.system.cores import available_cores
from tests.running_serve import RunningServe, end_ray, replicas_of, start_serve
from tests.stand_in import grey_picture, open_teller_of_threads


@pytest.fixture
def two_nodes() -> Iterator[tuple[Cluster, list[object], RunningServe]]:
    end_ray()
    cluster, nodes = start_cluster()
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster, nodes, start_serve()
    finally:  # else the next tests would join this cluster
        end_ray()
        cluster.shutdown()


def start_cluster(attempts: int = 3) -> tuple[Cluster, list[object]]:
    """Starts a head and two nodes; again if Ray gives a node up: its first call to the GCS may take too long."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=4, num_gpus=2) for _ in range(2)]
        cluster.wait_for_nodes()
    except Exception:
        cluster.shutdown()
        if attempts == 1:
            raise
        return start_cluster(attempts - 1)
    return cluster, nodes


def test_two_nodes_of_two_gpus_get_four_replicas_and_the_loss_of_one_is_made_good_on_the_other(two_nodes):
    cluster, nodes, running = two_nodes
    every = running.deploy(open_teller_of_threads, num_gpus="auto")
    seen = replicas_of(every, 4)
    assert sorted(seen.values()) == sorted(
        (device, node) for node in {node for _, node in seen.values()} for device in ("0", "1")
    )
    assert len({node for _, node in seen.values()}) == 2
    own_cores = max(1, available_cores() // 2)  # its node has two GPUs, the cluster four
    assert {every.handle.describe.remote().result()["name"] for _ in range(12)} == {f"{own_cores} threads"}
    running.keep_only()

    two = running.deploy(num_gpus=2)  # leaves room for a lost node's replicas
    before = replicas_of(two, 2)
    lost = next(iter(before.values()))[1]
    cluster.remove_node(next(node for node in nodes if node.node_id == lost))
    deadline = time.monotonic() + 90
    answered = False
    while time.monotonic() < deadline:
        try:
            answered = two.ask(5).detections.class_ids.tolist() == [5]
        except (ray.exceptions.RayError, TimeoutError):
            continue
        states = serve.status().applications[two.name].deployments["DetectorDeployment"].replica_states
        if answered and states == {"RUNNING": 2}:
            break
        time.sleep(0.1)
    assert answered
    after = replicas_of(two, 2)
    assert {node for _, node in after.values()} == {n.node_id for n in nodes if n.node_id != lost}
    assert sorted(device for device, _ in after.values()) == ["0", "1"]
    with two.client() as client:
        assert client.post("/detect", content=grey_picture(8)).json()["boxes"][0]["class_id"] == 8
