"""left_out: the head found by walking back from the outputs, without names."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from azaion_engine.quantisation.left_out import left_out
from tests.azaion_engine.models import make_detector


def two_branches() -> Any:
    """Backbone of three convolutions; a box branch of two and a class branch of one, joined at the output."""
    random = np.random.default_rng(0)
    nodes, weights = [], []

    def conv(name: str, source: str) -> str:
        weights.append(numpy_helper.from_array(random.random((8, 8, 1, 1), np.float32), f"{name}.weight"))
        nodes.append(helper.make_node("Conv", [source, f"{name}.weight"], [name], name))
        return name

    shared = conv("third", conv("second", conv("first", "images")))
    boxes = conv("box_last", conv("box_first", shared))
    nodes.append(helper.make_node("Sigmoid", [conv("class_last", shared)], ["scores"], "sigmoid"))
    nodes.append(helper.make_node("Concat", [boxes, "scores"], ["output"], "join", axis=1))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size, 8, 8])
        for name, size in (("images", 8), ("output", 16))
    ]
    return helper.make_model(helper.make_graph(nodes, "two branches", ends[:1], ends[1:], weights))


def test_the_branches_and_the_decoding_are_left_out_and_the_backbone_is_not() -> None:
    assert set(left_out(two_branches())) == {"box_first", "box_last", "class_last", "sigmoid", "join"}


def test_a_network_that_is_one_branch_keeps_only_its_last_convolution_and_the_decoding() -> None:
    kept = left_out(onnx.load_model_from_string(make_detector()))
    assert {"/head/predict", "/head/topk"} <= set(kept)
    assert not {"/backbone/conv0", "/backbone/conv1"} & set(kept)


def test_unnamed_nodes_get_names() -> None:
    model = onnx.load_model_from_string(make_detector(named_nodes=False))
    kept = left_out(model)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert set(kept) < set(names)
    assert "" not in names
