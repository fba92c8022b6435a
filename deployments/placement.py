"""Placement: the number of replicas that share a GPU, and of those that share this machine's cores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ray

from deployments.settings import ServiceSettings

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


class Share(NamedTuple):
    """What one of several models gets of the machines.

    Attributes:
        models: Number of models that are served.
        gpu: Part of every GPU, 0…1, for a model whose `num_gpus` is `auto`.
        cpus: CPUs of Ray's for each replica.
        replicas: Number of replicas of all models, at most.
    """

    models: int
    gpu: float
    cpus: float
    replicas: int = 1


WHOLE_MACHINE = Share(1, 1.0, 1)
"""Share of a model that is served alone."""


def share_of_each(models: Sequence[ServiceSettings], resources: Mapping[str, float]) -> Share:
    """Returns what each of several models gets.

    Ray places a replica only where its CPUs are free, although an idle model needs none: each takes less than one if
    there are more replicas than CPUs.

    Args:
        models: The settings of each.
        resources: Of the cluster, as from `ray.cluster_resources()`.
    """
    gpus = resources.get("GPU", 0)
    replicas = 0.0
    for settings in models:
        if settings.engine == "onnx" or settings.num_gpus == 0 or not gpus:
            replicas += settings.cpu_replicas
        else:
            used = gpus if settings.num_gpus == "auto" else math.ceil(settings.num_gpus)
            replicas += used * (1 if settings.replicas_per_gpu == "auto" else settings.replicas_per_gpu)
    sharing = sum(settings.num_gpus == "auto" and settings.engine != "onnx" for settings in models)
    cpus = resources.get("CPU", replicas) / replicas
    return Share(len(models), 1 / max(1, sharing), 1 if cpus >= 1 else _rounded(cpus))


def share_of_a_gpu(part: float, replicas: int) -> float:
    """Returns each replica's share of a GPU, rounded down to Ray's step of 0.0001 so that all replicas fit.

    Args:
        part: Of the GPU, 0…1, for all these replicas.
        replicas: Their number.
    """
    return 1 if part == replicas == 1 else _rounded(part / replicas)


def _rounded(share: float) -> float:
    return max(1, math.floor(10_000 * share + 1e-6)) / 10_000
