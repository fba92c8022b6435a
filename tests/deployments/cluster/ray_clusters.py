"""Clusters of several Ray nodes on this machine: `ray.cluster_utils.Cluster` with small object stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.cluster_utils import Cluster

STORE_BYTES = 80 * 2**20
"""Object store of a node: little more than Ray's least."""


@contextmanager
def ray_cluster(*nodes: dict[str, Any]) -> Iterator[Cluster]:
    """Runs a cluster, the first node its head; the caller joins it with `ray.init(cluster.address)`, or not at all.

    Args:
        nodes: Logical resources of each node, such as `{"num_cpus": 1, "num_gpus": 2}`, and other options of Ray's.
    """
    cluster = Cluster()
    try:
        for node in nodes:
            add_node(cluster, **node)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Cluster, **options: Any) -> object:
    """Adds a node with these resources and options; returns it for `cluster.remove_node`."""
    return cluster.add_node(object_store_memory=STORE_BYTES, include_dashboard=False, **options)


def process_id(*_: object) -> int:
    """Returns the id of the worker that runs it."""
    return os.getpid()
