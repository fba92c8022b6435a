"""expand_gelu: Gelu in operators that TensorRT 8 knows."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from azaion_engine.engines.tensorrt.build.expand_gelu import expand_gelu

VALUES = np.linspace(-6, 6, 200, dtype=np.float32).reshape(2, 100)


def two_gelus(approximate: str) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gelu", ["x"], ["first"], name="a", approximate=approximate),
        helper.make_node("Neg", ["first"], ["turned"]),
        helper.make_node("Gelu", ["turned"], ["y"], approximate=approximate),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "gelus", [value("x", TensorProto.FLOAT, VALUES.shape)], [value("y", TensorProto.FLOAT, VALUES.shape)]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": VALUES})[0])


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_the_expanded_graph_means_the_same(approximate: str) -> None:
    model = two_gelus(approximate)
    expected = run(model)
    expand_gelu(model)
    assert "Gelu" not in {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)
    model.opset_import[0].version = 17  # before there was Gelu
    np.testing.assert_allclose(run(model), expected, atol=2e-6)


def test_a_graph_without_gelu_stays() -> None:
    model = two_gelus("none")
    expand_gelu(model)
    before = model.SerializeToString()
    expand_gelu(model)
    assert model.SerializeToString() == before
