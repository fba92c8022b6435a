"""Placement: the number of replicas that share this machine's cores."""

from __future__ import annotations

import math

import ray


def replicas_here(replicas: int, per_gpu: int) -> int:
    """Returns how many of the application's replicas may run on this replica's machine, at least 1.

    With GPUs, the machine's GPUs limit it; without, Ray spreads replicas over the machines that are alive now.

    Args:
        replicas: All replicas of the application.
        per_gpu: Replicas that share one GPU.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    if ray.get_gpu_ids():
        [here] = [node for node in alive if node["NodeID"] == ray.get_runtime_context().get_node_id()]
        return max(1, min(replicas, int(here["Resources"].get("GPU", 0)) * per_gpu))
    return math.ceil(replicas / len(alive))
