"""Placement: the number of replicas that share a GPU, and of those that share this machine's cores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import ray

MOST_PER_GPU = 8
"""Maximum of `replicas_per_gpu: auto`: enough for one H100."""


def replicas_for_each_gpu(nodes: Iterable[Mapping[str, Any]]) -> int:
    """Returns how many replicas may share each GPU: half of the CPU cores that a GPU has on its node, 1 to 8.

    The node with the fewest cores for each GPU decides, so that the replicas of every GPU fit on its node: each takes
    one of Ray's CPUs. The other half of the cores runs the engines, HAProxy and Ray.

    Args:
        nodes: Nodes as from `ray.nodes()`; those that are dead or have no GPU do not count. With none left: 1.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    halves = [int(each.get("CPU", 0) / each["GPU"]) // 2 for each in resources]
    return max(1, min(*halves, MOST_PER_GPU)) if halves else 1


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
