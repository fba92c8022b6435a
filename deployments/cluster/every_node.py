"""Every node: runs one function on each living node of a Ray cluster, whatever else runs there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class NodeAnswer(Generic[T]):
    """What came back from one node.

    Attributes:
        node: The node, as from `ray.nodes()`.
        value: What the function returned there; None if it did not.
        error: Why it did not, in one line; else empty.
    """

    node: Mapping[str, Any]
    value: T | None
    error: str = ""


def on_every_node(function: Callable[..., T], *args: Any, seconds: float = 60.0) -> list[NodeAnswer[T]]:
    """Runs a function in a Ray task pinned to each living node, on all of them at once.

    The tasks take no CPU, so they run on nodes whose CPUs replicas hold. Ray must be initialised.

    Args:
        function: Importable on the nodes: it travels by the name of its module.
        args: Its arguments.
        seconds: Within which all nodes together must answer.

    Returns:
        An answer for each node, the head first, then by address.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=_order)
    # One call a process: what a look at the GPU loads must not stay in a worker that Ray keeps.
    task = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(function)
    references = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(*args)
        for node in nodes
    ]
    deadline = time.monotonic() + seconds
    return [_answer(node, reference, deadline, seconds) for node, reference in zip(nodes, references, strict=True)]


def is_head(node: Mapping[str, Any]) -> bool:
    """Returns whether a node, as from `ray.nodes()`, is the cluster's head."""
    return "node:__internal_head__" in node["Resources"]


def _order(node: Mapping[str, Any]) -> tuple[bool, str, str]:
    return not is_head(node), node["NodeManagerAddress"], node["NodeID"]


def _answer(node: Mapping[str, Any], reference: Any, deadline: float, seconds: float) -> NodeAnswer[Any]:
    import ray

    try:
        return NodeAnswer(node, ray.get(reference, timeout=max(0.0, deadline - time.monotonic())))
    except ray.exceptions.GetTimeoutError:
        ray.cancel(reference, force=True)
        return NodeAnswer(node, None, f"no answer within {seconds:g} s")
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        last = next((line for line in reversed(str(cause).splitlines()) if line.strip()), "")
        return NodeAnswer(node, None, f"{type(cause).__name__}: {last.strip()}")
