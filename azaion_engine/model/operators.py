"""Operators: how many nodes of each kind a model runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any


def count_operators(model: Any) -> dict[str, int]:
    """Counts a graph's nodes; of the model's own functions, which some exporters write for layers, what they run.

    Args:
        model: `onnx.ModelProto`.

    Returns:
        Operator → number of nodes, without those in branches and loops.
    """
    functions = {(function.domain, function.name): function.node for function in model.functions}
    counted: dict[tuple[str, str], Counter[str]] = {}

    def count(nodes: Iterable[Any]) -> Counter[str]:
        total: Counter[str] = Counter()
        for node in nodes:
            function = (node.domain, node.op_type)
            if function not in functions:
                total[node.op_type] += 1
                continue
            if function not in counted:
                counted[function] = Counter()  # for one that runs itself, which no runtime loads
                counted[function] = count(functions[function])
            total.update(counted[function])
        return total

    return dict(count(model.graph.node))
