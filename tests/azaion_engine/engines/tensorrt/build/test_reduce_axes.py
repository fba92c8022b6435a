"""reduce_axes: reductions of opset 18 as TensorRT 8 reads them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from azaion_engine.engines.tensorrt.build.reduce_axes import REDUCTIONS, inline_reduce_axes

VALUES = np.random.default_rng(0).uniform(0.1, 1, (2, 3, 4)).astype(np.float32)


def reduction(operator: str, axes: list[int], opset: int, as_constant_node: bool = False) -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.array(axes, np.int64), "axes")
    nodes = [helper.make_node(operator, ["x", "axes"], ["y"], keepdims=0)]
    if as_constant_node:
        nodes.insert(0, helper.make_node("Constant", [], ["axes"], value=tensor))
    graph = helper.make_graph(
        nodes,
        "reduction",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, VALUES.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [] if as_constant_node else [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": VALUES})[0])


@pytest.mark.parametrize("as_constant_node", [False, True])
@pytest.mark.parametrize("operator", sorted(REDUCTIONS))
def test_a_reduction_means_the_same_with_axes_as_attribute(operator: str, as_constant_node: bool) -> None:
    model = reduction(operator, [-1, 0], 18, as_constant_node)
    expected = run(model)
    inline_reduce_axes(model)
    [node] = [node for node in model.graph.node if node.op_type == operator]
    assert list(node.input) == ["x"]
    model.opset_import[0].version = 13  # the attribute's own opset
    np.testing.assert_array_equal(run(model), expected)


def test_computed_and_empty_axes_stay() -> None:
    empty = reduction("ReduceMax", [], 18)
    computed = reduction("ReduceMax", [1], 18)
    del computed.graph.initializer[:]
    for model in (empty, computed):
        before = model.SerializeToString()
        inline_reduce_axes(model)
        assert model.SerializeToString() == before


def test_reduce_sum_stays() -> None:
    model = reduction("ReduceSum", [1], 18)
    before = model.SerializeToString()
    inline_reduce_axes(model)
    assert model.SerializeToString() == before
