"""replicas_here: among how many replicas the cores of this one's host are divided."""

from __future__ import annotations

import math

import ray


def replicas_here(replicas: int, per_gpu: int) -> int:
    """Returns how many of the application's replicas may run on this replica's host, at least 1.

    On GPUs that is no more than fit on the host's; without GPUs Ray spreads them over the hosts that are alive now.

    Args:
        replicas: All replicas of the application.
        per_gpu: How many share a GPU.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    if ray.get_gpu_ids():
        [here] = [node for node in alive if node["NodeID"] == ray.get_runtime_context().get_node_id()]
        return max(1, min(replicas, int(here["Resources"].get("GPU", 0)) * per_gpu))
    return math.ceil(replicas / len(alive))
