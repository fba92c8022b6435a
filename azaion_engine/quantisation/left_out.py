"""Nodes left out of quantisation: the decoding of the boxes, and the branches of the head that lead to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from azaion_engine.engines.tensorrt.build.mixed_precision import GraphNode, graph_nodes, precise_tail

LARGEST_SHARE = 0.5
"""Branches that hold more than this share of the heavy nodes are not those of a head, and are quantised. Example: the
scores and the boxes come from one convolution, so that the whole model is one branch."""


def left_out(model: Any) -> list[str]:
    """Finds the nodes of an ONNX detector that stay in floating point.

    The rule needs no names. Walking back from the outputs, everything up to and including the last heavy operations
    (convolutions, matrix products) stays: eight bits hold neither a corner to a pixel nor small differences of scores.
    So does each branch of the head: the nodes that lead to exactly one of those last heavy operations. Where a tensor
    leads to several of them (the box branch and the class branch, or two sizes of objects), the head begins, and what
    comes before is quantised.

    Args:
        model: `onnx.ModelProto`; nodes without a name, or with a name used before, get a new one in place.

    Returns:
        Names of the nodes, in the graph's order.
    """
    nodes = graph_nodes(model)
    kept = {*precise_tail(nodes), *_branches(nodes)}
    return [model.graph.node[index].name for index in sorted(kept)]


def _branches(nodes: Sequence[GraphNode]) -> set[int]:
    """Returns the nodes that lead to exactly one of the last heavy nodes; none if that is most of the network."""
    tail = set(precise_tail(nodes))
    producer = {output: index for index, node in enumerate(nodes) for output in node.outputs}
    leads_to: dict[int, set[int]] = {}
    for last in sorted(index for index in tail if nodes[index].is_heavy):
        pending = list(nodes[last].inputs)
        seen: set[int] = set()
        while pending:
            index = producer.get(pending.pop())
            if index is not None and index not in seen:
                seen.add(index)
                leads_to.setdefault(index, set()).add(last)
                pending.extend(nodes[index].inputs)
    branches = {index for index, lasts in leads_to.items() if len(lasts) == 1 and index not in tail}
    heavy = {index for index, node in enumerate(nodes) if node.is_heavy}
    return branches if len(branches & heavy) <= LARGEST_SHARE * len(heavy - tail) else set()
