"""Expand Gelu: writes an operator that the parser of TensorRT 8 does not know in operators that it does."""

from __future__ import annotations

import math
from typing import Any

_CUBIC = 0.044715
"""Of the tanh approximation (Hendrycks and Gimpel, 2016, arXiv 1606.08415, section 2)."""


def expand_gelu(model: Any) -> None:
    """Replaces every Gelu of opset 20 in a graph of float32, in place.

    `x / 2 * (1 + erf(x / sqrt(2)))`, or with `approximate: tanh`
    `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x³)))`.

    Args:
        model: The `onnx.ModelProto`, of any opset.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    graph = model.graph
    if not any(node.op_type == "Gelu" for node in graph.node):
        return
    constants = {
        "half": 0.5,
        "one": 1.0,
        "root_half": math.sqrt(0.5),
        "cubic": _CUBIC,
        "root_two_over_pi": math.sqrt(2 / math.pi),
    }
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.float32(value), f"gelu/{name}"))
    made = []
    for node in graph.node:
        if node.op_type != "Gelu":
            made.append(node)
            continue
        [x], [result] = node.input, node.output
        tanh = any(each.name == "approximate" and each.s == b"tanh" for each in node.attribute)
        steps = [("Mul", [x, "gelu/root_half"], "scaled"), ("Erf", ["scaled"], "curve")]
        if tanh:
            steps = [
                ("Mul", [x, x], "squared"),
                ("Mul", ["squared", x], "cubed"),
                ("Mul", ["cubed", "gelu/cubic"], "bent"),
                ("Add", ["bent", x], "sum"),
                ("Mul", ["sum", "gelu/root_two_over_pi"], "scaled"),
                ("Tanh", ["scaled"], "curve"),
            ]
        steps += [
            ("Add", ["curve", "gelu/one"], "raised"),
            ("Mul", [x, "gelu/half"], "halved"),
            ("Mul", ["halved", "raised"], result),
        ]
        own = {output for _, _, output in steps} - {result}
        for operator, inputs, output in steps:
            given = [f"{result}/gelu/{name}" if name in own else name for name in inputs]
            target = output if output == result else f"{result}/gelu/{output}"
            made.append(helper.make_node(operator, given, [target], name=f"{node.name or result}/{output}"))
    del graph.node[:]
    graph.node.extend(made)
