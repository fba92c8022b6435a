"""Mixed precision: which nodes of a detector must compute in FP32 when the rest computes in FP16.

FP16 numbers between 1024 and 2048 are 1 px apart. A box head that decodes corners in FP16 is off by up
to half a pixel, and by more after a few operations. The rule here needs no names. Nodes from which no
heavy operation (convolution, matrix product) can be reached decode the boxes: they compute in FP32. So
do the last heavy operations, which give the raw distances and scores. All other nodes take most of the
time and stay FP16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

HEAVY_OPS = frozenset(
    (
        "Conv",
        "ConvTranspose",
        "DeformConv",
        "MatMul",
        "Gemm",
        "Einsum",
        "LSTM",
        "GRU",
        "RNN",
        "ConvInteger",
        "MatMulInteger",
    )
)
"""ONNX operators that count as heavy, unless their weights are tiny."""

LIGHT_WEIGHTS = 16
"""Products with at most this many weights count as decoding, not as heavy: the distribution focal loss of YOLOv8…11
is a convolution with 16 weights (reg_max), and exports with NMS turn boxes into corners by a 4x4 matrix."""

HALF_SCALES_OPSET = 19
"""First opset of ONNX with FP16 scales (onnx/docs/Changelog.md, QuantizeLinear); before it a result is always FP32."""

_PAIR = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class GraphNode:
    """A node of any graph: names of the tensors it reads and writes, and whether it is heavy."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_heavy: bool


def precise_tail(nodes: Sequence[GraphNode]) -> list[int]:
    """Finds the nodes that stay FP32: those with no heavy node downstream, the last heavy ones included.

    Args:
        nodes: The graph, in any order.

    Returns:
        Indices into `nodes`, ascending.
    """
    producer = {output: index for index, node in enumerate(nodes) for output in node.outputs}
    pending = [name for node in nodes if node.is_heavy for name in node.inputs]
    feeds_heavy: set[int] = set()
    while pending:
        index = producer.get(pending.pop())
        if index is not None and index not in feeds_heavy:
            feeds_heavy.add(index)
            pending.extend(nodes[index].inputs)
    return [index for index in range(len(nodes)) if index not in feeds_heavy]


# --- ONNX: for strongly typed TensorRT -----------------------------------------------------------


def graph_nodes(model: Any) -> list[GraphNode]:
    """Returns the nodes of an ONNX model in its order, as `precise_tail` takes them.

    Args:
        model: `onnx.ModelProto`; nodes without a name, or with a name used before, get a new one in place.
    """
    sizes = {weight.name: math.prod(weight.dims) for weight in model.graph.initializer}
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if node.op_type == "Constant":
            sizes[node.output[0]] = sum(math.prod(a.t.dims) for a in node.attribute if a.name == "value")
        elif node.op_type in _PAIR and node.input[0] in sizes:  # weights of a quantised node
            sizes[node.output[0]] = sizes[node.input[0]]
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}__{index}"
        taken.add(node.name)
    return [GraphNode(_reads(node), tuple(node.output), _is_heavy(node, sizes)) for node in model.graph.node]


def onnx_tail(model: Any) -> list[str]:
    """Finds the FP32 tail of an ONNX model.

    Args:
        model: `onnx.ModelProto`; its nodes get names as in `graph_nodes`.

    Returns:
        Names of the nodes of the tail.
    """
    nodes = graph_nodes(model)
    return [model.graph.node[index].name for index in precise_tail(nodes)]


def convert_to_mixed(model: Any) -> Any:
    """Converts an FP32 ONNX model to FP16 with an FP32 tail; inputs and outputs keep their types.

    Args:
        model: `onnx.ModelProto` with FP32 weights; changed in place. Q/DQ nodes get FP16 scales.

    Returns:
        The converted `onnx.ModelProto`, in opset 19 or later if it has Q/DQ nodes.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = _allow_half_scales(model)
    tail = onnx_tail(model)
    mixed = convert_float_to_float16(model, keep_io_types=True, node_block_list=tail)
    sort_nodes(mixed.graph)  # the converter appends its casts at the end
    _widen_subgraph_reads(mixed, set(tail))
    return _drop_round_trips(mixed)


def _allow_half_scales(model: Any) -> Any:
    """Brings a model with Q/DQ nodes into the first opset where their scales, and so their results, may be FP16."""
    import onnx

    found = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), HALF_SCALES_OPSET)
    if found >= HALF_SCALES_OPSET or not any(node.op_type in _PAIR for node in model.graph.node):
        return model
    return onnx.version_converter.convert_version(model, HALF_SCALES_OPSET)


def widen_to_float32(model: Any) -> None:
    """Turns an FP16 export into an FP32 model in place; inputs and outputs keep their types.

    An FP16 export has FP16 in its box head too. Both ways of choosing precisions start from an FP32 model.

    Args:
        model: `onnx.ModelProto`.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    half = TensorProto.FLOAT16
    if not _uses(graph, half):
        return
    _widen_graph(graph)
    casts_in, casts_out = [], []
    for value in graph.input:
        if value.type.tensor_type.elem_type == half:
            wide = f"{value.name}__float32"
            _rename_reads(graph, value.name, wide)
            casts_in.append(helper.make_node("Cast", [value.name], [wide], name=f"{wide}/Cast", to=TensorProto.FLOAT))
    for value in graph.output:
        if value.type.tensor_type.elem_type == half:
            wide = f"{value.name}__float32"
            _rename_reads(graph, value.name, wide)
            for node in graph.node:
                node.output[:] = [wide if name == value.name else name for name in node.output]
            casts_out.append(helper.make_node("Cast", [wide], [value.name], name=f"{wide}/Cast", to=half))
    nodes = [*casts_in, *graph.node, *casts_out]
    del graph.node[:]
    graph.node.extend(nodes)


def _widen_subgraph_reads(model: Any, tail: set[str]) -> None:
    """Casts outer tensors that subgraphs of the tail read to FP32: the converter casts declared inputs only."""
    import onnx

    del model.graph.value_info[:]  # wrong behind FP32 nodes, see _drop_round_trips
    graph = onnx.shape_inference.infer_shapes(model).graph
    narrow = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    narrow |= {w.name for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT16}
    casts: dict[str, Any] = {}
    for node in model.graph.node:
        for inner in _subgraphs(node) if node.name in tail else ():
            for name in narrow.intersection(name for child in inner.node for name in _reads(child)):
                wide = f"{name}__float32"
                casts[name] = onnx.helper.make_node(
                    "Cast", [name], [wide], name=f"{wide}/Cast", to=onnx.TensorProto.FLOAT
                )
                _rename_reads(inner, name, wide)
    model.graph.node.extend(casts.values())
    sort_nodes(model.graph)


def _drop_round_trips(model: Any) -> Any:
    """Removes casts FP32 → FP16 → FP32.

    The converter puts casts around every single FP32 node. They would round the result of each step of
    the tail to FP16, the final boxes included.
    """
    import onnx

    # Infer the types again: the converter's value_info is wrong behind FP32 nodes.
    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model).graph
    float32 = onnx.TensorProto.FLOAT
    wide = {v.name for v in (*graph.input, *graph.value_info) if v.type.tensor_type.elem_type == float32}
    narrowed = {node.output[0]: node.input[0] for node in model.graph.node if _casts_to(node, onnx.TensorProto.FLOAT16)}
    for node in model.graph.node:
        source = narrowed.get(node.input[0]) if _casts_to(node, float32) else None
        if source in wide:
            node.op_type = "Identity"
            node.input[0] = source
            del node.attribute[:]
    read = {name for node in model.graph.node for name in _reads(node)} | {output.name for output in model.graph.output}
    nodes = [node for node in model.graph.node if node.op_type != "Cast" or node.output[0] in read]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _casts_to(node: Any, dtype: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == dtype for a in node.attribute)


def sort_nodes(graph: Any) -> None:
    """Brings the nodes of an ONNX graph into an order of execution, in place."""
    nodes = list(graph.node)
    producer = {output: index for index, node in enumerate(nodes) for output in node.output if output}
    before = {index: [producer[name] for name in _reads(node) if name in producer] for index, node in enumerate(nodes)}
    order = list(TopologicalSorter(before).static_order())
    del graph.node[:]
    graph.node.extend(nodes[index] for index in order)


def _is_heavy(node: Any, sizes: dict[str, int]) -> bool:
    if any(_is_heavy(inner, sizes) for graph in _subgraphs(node) for inner in graph.node):
        return True
    weights = [sizes[name] for name in node.input if name in sizes]
    return node.op_type in HEAVY_OPS and not (weights and max(weights) <= LIGHT_WEIGHTS)


def _subgraphs(node: Any) -> list[Any]:
    graphs = [a.g for a in node.attribute if a.HasField("g")]
    return graphs + [graph for a in node.attribute for graph in a.graphs]


def _reads(node: Any) -> tuple[str, ...]:
    # A subgraph reads tensors of the outer graph without declaring them as inputs of its node.
    inner = [name for graph in _subgraphs(node) for child in graph.node for name in _reads(child)]
    return (*node.input, *inner)


def _uses(graph: Any, dtype: int) -> bool:
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
    casts = [a.i for node in graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"]
    return dtype in casts or any(tensor.data_type == dtype for tensor in tensors)


def _widen_graph(graph: Any) -> None:
    from onnx import TensorProto

    for weight in graph.initializer:
        _widen_tensor(weight)
    for value in graph.value_info:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
        for inner in _subgraphs(node):
            for value in (*inner.input, *inner.output):
                if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                    value.type.tensor_type.elem_type = TensorProto.FLOAT
            _widen_graph(inner)


def _widen_tensor(tensor: Any) -> None:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))


def _rename_reads(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        for inner in _subgraphs(node):
            _rename_reads(inner, old, new)
