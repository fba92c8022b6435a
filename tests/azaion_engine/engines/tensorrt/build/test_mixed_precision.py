"""mixed_precision: which layers are the tail, and how far boxes of a converted model move."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from azaion_engine.engines.tensorrt.build.mixed_precision import (
    GraphNode,
    convert_to_mixed,
    onnx_tail,
    precise_tail,
    widen_to_float32,
)
from tests.azaion_engine.models import make_batch, make_detector, reference_run


def node(inputs: str, outputs: str, heavy: bool = False) -> GraphNode:
    return GraphNode(tuple(inputs.split()), tuple(outputs.split()), heavy)


def test_last_heavy_nodes_and_what_follows_are_the_tail() -> None:
    graph = [
        node("x", "a", heavy=True),  # backbone
        node("a", "b"),
        node("b", "box", heavy=True),  # last heavy
        node("b", "c", heavy=True),
        node("c", "d"),
        node("d", "cls", heavy=True),  # last heavy
        node("box cls anchors", "rows"),
        node("", "anchors"),  # a constant that only the tail reads
        node("", "weights"),
        node("weights", "scaled"),
        node("scaled x", "y", heavy=True),  # an unused output; last heavy too
    ]
    assert precise_tail(graph) == [2, 5, 6, 7, 10]


def test_order_of_nodes_does_not_matter_and_cycles_end() -> None:
    graph = [node("a", "b"), node("x", "a", heavy=True)]
    assert precise_tail(graph) == [0, 1]
    assert precise_tail(graph[::-1]) == [0, 1]
    assert precise_tail([node("a", "b"), node("b", "a"), node("a", "c", heavy=True)]) == [2]
    assert precise_tail([]) == []


@pytest.mark.parametrize("named", [True, False])
def test_tail_of_a_detector(named: bool) -> None:
    model = onnx.load_model_from_string(make_detector(named_nodes=named))
    tail = onnx_tail(model)
    kinds = {n.name: n.op_type for n in model.graph.node}
    assert len(kinds) == len(model.graph.node), "every node has a name of its own"
    assert [kinds[name] for name in tail].count("Conv") == 1
    assert {kinds[name] for name in kinds if name not in tail} == {"Conv", "Sigmoid", "Mul"}


def test_a_tiny_product_in_the_decoding_does_not_count_as_heavy() -> None:
    """YOLOv8…11 decode distances with a convolution of 16 weights; NMS exports convert boxes with a 4×4 matrix."""
    model = onnx.load_model_from_string(make_detector())
    rows = next(n for n in model.graph.node if n.op_type == "GatherElements")
    model.graph.initializer.append(numpy_helper.from_array(np.eye(6, dtype=np.float32)[:2, :2], "turn"))
    before = onnx_tail(model)
    model.graph.node.append(helper.make_node("MatMul", [rows.output[0], "turn"], ["turned"], name="turn"))
    assert onnx_tail(model) == [*before, "turn"]
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.eye(6, dtype=np.float32), "turn"))
    assert "/head/predict" not in onnx_tail(model), "a larger matrix is a layer like any other"


def test_what_a_subgraph_reads_counts() -> None:
    inner = helper.make_graph(
        [helper.make_node("Conv", ["a", "w"], ["r"], name="inner")],
        "then",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "w")],
    )
    branch = helper.make_node("If", ["c"], ["y"], name="if", then_branch=inner, else_branch=inner)
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        branch,
        helper.make_node("Relu", ["y"], ["z"], name="last"),
    ]
    assert onnx_tail(helper.make_model(helper.make_graph(nodes, "g", [], []))) == ["if", "last"]


def nearest(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest distance in pixels of an expected box, the weakest fifth excepted, from the nearest found."""
    rows = expected[0, : expected.shape[1] * 4 // 5, :4]
    return float(np.abs(rows[:, None] - found[0, None, :, :4]).max(axis=2).min(axis=1).max())


def test_boxes_of_the_mixed_model_stay_within_a_pixel_where_plain_fp16_does_not_even_come_close() -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    original = make_detector(height=1280, width=1280, k=300)
    data = make_batch(1, 1280, 1280)
    expected = reference_run(original, data)[0]
    mixed = convert_to_mixed(onnx.load_model_from_string(original))
    onnx.checker.check_model(mixed, full_check=True)
    weights = {w.name: w.data_type for w in mixed.graph.initializer}
    types = {n.name: weights[n.input[1]] for n in mixed.graph.node if n.op_type == "Conv"}
    assert types == {
        "/backbone/conv0": TensorProto.FLOAT16,
        "/backbone/conv1": TensorProto.FLOAT16,
        "/head/predict": TensorProto.FLOAT,
    }
    ours = nearest(reference_run(mixed.SerializeToString(), data)[0], expected)
    plain = convert_float_to_float16(onnx.load_model_from_string(original), keep_io_types=True, op_block_list=[])
    theirs = nearest(reference_run(plain.SerializeToString(), data)[0], expected)
    assert ours < 0.1
    assert theirs > 4 * ours


def test_a_subgraph_of_the_tail_reads_the_wide_tensor() -> None:
    """Both branches read `boxes`, made in the tail, and `a`, made in FP16, without naming them as inputs."""

    def branch(name: str, op: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        inner = helper.make_node(op, ["boxes", "a"], [result.name], name=f"{name}_{op}")
        return helper.make_graph([inner], name, [], [result])

    weight = numpy_helper.from_array(np.full((1, 1, 5, 5), 0.1, np.float32), "w")
    large = numpy_helper.from_array(np.float32(2000), "large")
    yes = numpy_helper.from_array(np.array(True), "yes")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[2, 2, 2, 2]),
        helper.make_node("Conv", ["a", "w"], ["b"], name="last", pads=[2, 2, 2, 2]),
        helper.make_node("Add", ["b", "large"], ["boxes"], name="boxes"),
        helper.make_node(
            "If", ["yes"], ["y"], name="if", then_branch=branch("then", "Add"), else_branch=branch("else", "Sub")
        ),
    ]
    shape = [1, 1, 8, 8]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight, large, yes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    [expected] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": data})
    mixed = convert_to_mixed(model)
    onnx.checker.check_model(mixed, full_check=True)
    [found] = onnxruntime.InferenceSession(mixed.SerializeToString()).run(None, {"x": data})
    assert np.abs(found - expected).max() < 0.02, "2000 has a spacing of 1 in FP16"


@pytest.mark.parametrize("size", [64, None])
def test_half_export_is_widened_inside_and_keeps_its_inputs_and_outputs(size: int | None) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    original = make_detector(height=size, width=size)
    half = convert_float_to_float16(onnx.load_model_from_string(original), keep_io_types=False, op_block_list=[])
    data = make_batch(2)
    widen_to_float32(half)
    onnx.checker.check_model(half, full_check=True)
    assert [v.type.tensor_type.elem_type for v in (*half.graph.input, *half.graph.output)] == [TensorProto.FLOAT16] * 2
    assert TensorProto.FLOAT16 not in {w.data_type for w in half.graph.initializer}
    found, expected = reference_run(half.SerializeToString(), data)[0], reference_run(original, data)[0]
    assert nearest(found, expected) < 0.2
    mixed = convert_to_mixed(half)
    onnx.checker.check_model(mixed, full_check=True)
    assert nearest(reference_run(mixed.SerializeToString(), data)[0], expected) < 0.3


def test_float32_models_are_left_alone() -> None:
    model = onnx.load_model_from_string(make_detector())
    before = model.SerializeToString()
    widen_to_float32(model)
    assert model.SerializeToString() == before
