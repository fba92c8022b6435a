"""Operators of a model are counted where they run, in its own functions too."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, helper

from azaion_engine.model.operators import count_operators

OPSET = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def of(calls: list[tuple[str, str]], **functions: list[tuple[str, str]]) -> ModelProto:
    """A model whose graph and functions run these nodes of (domain, operator)."""

    def nodes(run: list[tuple[str, str]]) -> list[object]:
        return [helper.make_node(operator, ["x"], ["x"], domain=domain) for domain, operator in run]

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph(nodes(calls), "graph", [value], [value]), opset_imports=OPSET)
    for name, run in functions.items():
        model.functions.append(helper.make_function("own", name, ["x"], ["x"], nodes(run), OPSET))
    return model


def test_what_a_function_runs_counts_as_often_as_it_is_called() -> None:
    model = of(
        [("own", "Layer"), ("own", "Layer"), ("", "Exp")], Layer=[("", "Conv"), ("own", "Act")], Act=[("", "Exp")]
    )
    assert count_operators(model) == {"Conv": 2, "Exp": 3}


def test_an_operator_of_another_domain_is_no_function() -> None:
    assert count_operators(of([("", "Layer")], Layer=[("", "Conv")])) == {"Layer": 1}


def test_a_function_that_calls_itself_ends() -> None:
    assert count_operators(of([("own", "Layer")], Layer=[("own", "Layer"), ("", "Conv")])) == {"Conv": 1}
