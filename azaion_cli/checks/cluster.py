"""Checks of a cluster: what no node can know alone, and what every node's own checks found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from azaion_cli.checks.check import Check, Status
from azaion_cli.checks.network import PORTS
from azaion_cli.checks.node import NodeReport

_SAME: dict[str, tuple[Status, str]] = {
    "azaion-engine": ("problem", "install one version on every node: a replica runs the code of its node"),
    "Ray": ("problem", "install one version of Ray on every node"),
    "Python": ("problem", "use one version of Python on every node: Ray sends pickled code"),
    "ONNX Runtime": ("warning", "install one version on every node, so that all find the same boxes"),
    "TensorRT": ("warning", "install one version, or give the nodes separate cache_dirs: each builds its own engine"),
    "TensorRT-RTX": ("warning", "install one version, or give the nodes separate cache_dirs: each builds its own"),
}
"""Programs whose version must be the same on every node; the status if it is not, and the advice."""


@dataclass(frozen=True)
class ClusterNode:
    """One node and its report.

    Attributes:
        address: IP address.
        node_id: Ray's id of it.
        is_head: Whether it is the cluster's head.
        ray_gpus: GPUs that Ray counts there.
        report: What it has; None if it did not answer.
        error: Why it did not; else empty.
    """

    address: str
    node_id: str
    is_head: bool
    ray_gpus: float
    report: NodeReport | None
    error: str = ""


def cluster_checks(nodes: Sequence[ClusterNode]) -> Iterator[Check]:
    """Checks the nodes, one against the other first, then by their own checks that are not well.

    What several nodes found alike is one check that names them.
    """
    for node in nodes:
        if node.report is None:
            advice = "is azaion-engine, of this version, installed there, and the node not overloaded?"
            yield Check(node.address, "problem", node.error, advice)
    yield from _different_versions(nodes)
    yield from _missing_gpus(nodes)
    yield from _of_the_nodes(nodes)


def _different_versions(nodes: Sequence[ClusterNode]) -> Iterator[Check]:
    for program, (status, advice) in _SAME.items():
        where: dict[str, list[str]] = {}
        for node in nodes:
            if node.report is not None and program in node.report.versions:
                where.setdefault(node.report.versions[program], []).append(node.address)
        if len(where) > 1:
            found = "; ".join(f"{version} on {_listed(there)}" for version, there in where.items())
            yield Check(f"{program} differs", status, found, advice)


def _missing_gpus(nodes: Sequence[ClusterNode]) -> Iterator[Check]:
    for node in nodes:
        if node.report is not None and node.ray_gpus > len(node.report.gpus):
            found = f"{node.address}: Ray counts {node.ray_gpus:g}, the driver shows {len(node.report.gpus)}"
            advice = (
                "start Ray there without --num-gpus; install the driver and nvidia-ml-py; a container needs its GPUs"
            )
            yield Check("GPUs", "problem", found, advice)


def _of_the_nodes(nodes: Sequence[ClusterNode]) -> Iterator[Check]:
    alike: dict[tuple[str, Status, str, str], list[str]] = {}
    for node in nodes:
        for check in node.report.checks if node.report is not None else ():
            if check.status in ("problem", "warning") and check.name != PORTS:  # the table has every node's ports
                alike.setdefault((check.name, check.status, check.found, check.advice), []).append(node.address)
    # The worst first; `sorted` keeps the order of the nodes otherwise.
    for (name, status, found, advice), there in sorted(alike.items(), key=lambda item: item[0][1] != "problem"):
        yield Check(name, status, f"{_listed(there)}: {found}", advice)


def _listed(addresses: Iterable[str]) -> str:
    """Returns addresses, each once: several nodes of one machine share theirs."""
    return ", ".join(dict.fromkeys(addresses))
