"""Models: tiny ONNX detectors with real convolutions and a real box head, quick to build."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

STRIDE = 8
"""Pixels of the input per cell of the feature map: one candidate box per cell."""

CLASS_NAMES = ("car", "person", "tank", "truck", "dog", "boat", "plane", "mast")
"""Names from which `make_detector` takes the first `classes`."""


def make_detector(
    *,
    height: int | None = 64,
    width: int | None = 64,
    batch: int | None = None,
    k: int = 10,
    classes: int = 3,
    io_dtype: Literal["float32", "float16"] = "float32",
    output: Literal["boxes", "raw"] = "boxes",
    unknown_op: bool = False,
    named_nodes: bool = True,
    channels: int = 8,
    seed: int = 0,
) -> bytes:
    """Makes an end-to-end detector: two convolutions with SiLU, a prediction convolution, decoding and TopK.

    Args:
        height: Input height in pixels, a multiple of 8; None leaves it dynamic.
        width: Input width in pixels, a multiple of 8; None leaves it dynamic.
        batch: Fixed batch size; None leaves it dynamic.
        k: Number of output rows; at most height/8 * width/8.
        classes: Number of classes, at most `len(CLASS_NAMES)`.
        io_dtype: Element type of input and output.
        output: `boxes` gives `[batch, k, 6]` rows x1, y1, x2, y2 (pixels), confidence (0…1), class;
            `raw` gives `[batch, 4 + classes, cells]`, as an export without end-to-end head would.
        unknown_op: Puts a node `/head/mystery` of an operator that no runtime knows into the graph.
        named_nodes: Whether nodes carry names.
        channels: Channels of the inner convolutions.
        seed: Seed of the random weights.

    Returns:
        The serialised model, input `images`, output `output0`, metadata `names`, `imgsz`, `stride`.
    """
    graph = _Graph(named_nodes, np.random.default_rng(seed))
    io_type = TensorProto.FLOAT if io_dtype == "float32" else TensorProto.FLOAT16

    x = "images"
    if io_dtype == "float16":
        x = graph.op("Cast", [x], to=TensorProto.FLOAT)
    x = graph.silu(graph.conv("/backbone/conv0", x, 3, channels, size=5, stride=4))
    x = graph.silu(graph.conv("/backbone/conv1", x, channels, channels, size=3, stride=2))
    prediction = graph.conv("/head/predict", x, channels, 4 + classes, size=1, stride=1)
    if unknown_op:
        prediction = graph.op("Mystery", [prediction], name="/head/mystery", domain="azaion.test")

    flat = graph.op("Reshape", [prediction, graph.const([0, 4 + classes, -1])])
    rows = graph.op("Transpose", [flat], perm=[0, 2, 1])
    distances = graph.op("Slice", [rows, graph.const([0]), graph.const([4]), graph.const([2])])
    scores = graph.op("Slice", [rows, graph.const([4]), graph.const([4 + classes]), graph.const([2])])
    boxes = graph.decode(distances, _centers(graph, prediction, height, width))
    scores = graph.op("Sigmoid", [scores])
    if output == "raw":
        both = graph.op("Concat", [boxes, scores], axis=2)
        result = graph.op("Transpose", [both], perm=[0, 2, 1])
        shape: list[int | str] = [batch or "batch", 4 + classes, "cells"]
    else:
        result = graph.select(boxes, scores, k)
        shape = [batch or "batch", k, 6]
    if io_dtype == "float16":
        result = graph.op("Cast", [result], to=TensorProto.FLOAT16)
    graph.op("Identity", [result], output="output0")

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "tiny_detector",
            [
                helper.make_tensor_value_info(
                    "images", io_type, [batch or "batch", 3, height or "height", width or "width"]
                )
            ],
            [helper.make_tensor_value_info("output0", io_type, shape)],
            graph.weights,
        ),
        # Opset 17 and IR 8 are the newest that TensorRT 8.6 reads.
        opset_imports=[helper.make_opsetid("", 17), *([helper.make_opsetid("azaion.test", 1)] if unknown_op else [])],
        ir_version=8,
    )
    names = dict(enumerate(CLASS_NAMES[:classes]))
    imgsz = [height or 1280, width or 1280]
    helper.set_model_props(model, {"names": str(names), "imgsz": str(imgsz), "stride": str(STRIDE)})
    serialized: bytes = model.SerializeToString()
    return serialized


def make_batch(rows: int, height: int = 64, width: int = 64, seed: int = 1) -> NDArray[np.float32]:
    """Makes float32 `[rows, 3, height, width]` in 0…1, every row different, smooth enough to look like pictures."""
    random = np.random.default_rng(seed)
    coarse = random.random((rows, 3, -(-height // 8), -(-width // 8)), dtype=np.float32)
    return np.ascontiguousarray(coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width])


def reference_run(model: bytes, data: NDArray[np.generic]) -> list[NDArray[np.float32]]:
    """Runs the model on the CPU through ONNX Runtime, in batches of the size that the model fixes, if it does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    data = data.astype(np.float16 if "float16" in given.type else np.float32)
    batch = given.shape[0] if isinstance(given.shape[0], int) else len(data)
    parts = []
    for start in range(0, len(data), batch):
        part = data[start : start + batch]
        padded = np.zeros((batch, *part.shape[1:]), part.dtype)
        padded[: len(part)] = part
        parts.append([o[: len(part)].astype(np.float32) for o in session.run(None, {given.name: padded})])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


class _Graph:
    """Collects nodes and weights; methods that add one return the name of its tensor."""

    def __init__(self, named: bool, random: np.random.Generator) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.named = named
        self.random = random

    def op(
        self, kind: str, inputs: list[str], *, output: str = "", name: str = "", domain: str = "", **attributes: object
    ) -> str:
        output = output or f"t{len(self.nodes)}_{kind}"
        name = (name or f"/node{len(self.nodes)}/{kind}") if self.named else ""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, domain=domain, **attributes))
        return output

    def const(self, value: list[int] | NDArray[np.generic]) -> str:
        array = np.asarray(value, np.int64) if isinstance(value, list) else value
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, name: str, x: str, given: int, made: int, *, size: int, stride: int) -> str:
        scale = 2.0 / np.sqrt(given * size * size)
        weight = self.const(self.random.normal(0, scale, (made, given, size, size)).astype(np.float32))
        bias = self.const(self.random.normal(0, 0.1, made).astype(np.float32))
        pad = size // 2
        return self.op(
            "Conv", [x, weight, bias], name=name, strides=[stride] * 2, pads=[pad] * 4, kernel_shape=[size] * 2
        )

    def silu(self, x: str) -> str:
        return self.op("Mul", [x, self.op("Sigmoid", [x])])

    def decode(self, distances: str, centers: str) -> str:
        """Converts distances to the four sides (before softplus, in cells) to corners in pixels, `[b, cells, 4]`."""
        sides = self.op("Mul", [self.op("Softplus", [distances]), self.const(np.float32(STRIDE).reshape(1))])
        signs = self.const(np.array([-1, -1, 1, 1], np.float32))
        return self.op("Add", [self.op("Mul", [sides, signs]), centers])

    def select(self, boxes: str, scores: str, k: int) -> str:
        """Selects the k best cells: rows x1, y1, x2, y2, confidence, class, `[b, k, 6]`."""
        best = self.op("ReduceMax", [scores], axes=[2], keepdims=1)
        label = self.op("Cast", [self.op("ArgMax", [scores], axis=2, keepdims=1)], to=TensorProto.FLOAT)
        rows = self.op("Concat", [boxes, best, label], axis=2)
        values = f"t{len(self.nodes)}_TopK_values"
        indices = f"t{len(self.nodes)}_TopK_indices"
        name = "/head/topk" if self.named else ""
        self.nodes.append(
            helper.make_node("TopK", [best, self.const([k])], [values, indices], name=name, axis=1, largest=1, sorted=1)
        )
        return self.op("GatherElements", [rows, self.op("Tile", [indices, self.const([1, 1, 6])])], axis=1)


def _centers(graph: _Graph, prediction: str, height: int | None, width: int | None) -> str:
    """Adds the cells' centres x, y, x, y in pixels, `[1, cells, 4]`; constants where the size is fixed."""
    if height and width:
        ys, xs = np.mgrid[: -(-height // STRIDE), : -(-width // STRIDE)].reshape(2, -1).astype(np.float32)
        return graph.const(((np.stack([xs, ys, xs, ys], axis=1) + 0.5) * STRIDE).astype(np.float32)[None])
    shape = graph.op("Shape", [prediction])
    axes = []
    for position, form in ((3, [1, 1, -1, 1]), (2, [1, -1, 1, 1])):
        count = graph.op("Squeeze", [graph.op("Slice", [shape, graph.const([position]), graph.const([position + 1])])])
        index = graph.op("Range", [graph.const(np.array(0, np.int64)), count, graph.const(np.array(1, np.int64))])
        center = graph.op(
            "Add", [graph.op("Cast", [index], to=TensorProto.FLOAT), graph.const(np.float32(0.5).reshape(1))]
        )
        pixels = graph.op("Mul", [center, graph.const(np.float32(STRIDE).reshape(1))])
        axes.append(graph.op("Reshape", [pixels, graph.const(form)]))
    size = graph.op("Slice", [shape, graph.const([2]), graph.const([4])])
    full = graph.op("Concat", [graph.const([1]), size, graph.const([1])], axis=0)
    x, y = (graph.op("Expand", [a, full]) for a in axes)
    return graph.op("Reshape", [graph.op("Concat", [x, y, x, y], axis=3), graph.const([1, -1, 4])])
