"""Lively model: rescales a detector with random weights so that its answers depend on the picture.

    python -m benchmarks.library.lively_model random.onnx lively.onnx --picture picture.jpg --height 1280 --width 1280

With an exporter's random weights, activations fade from layer to layer until all pictures get the same rows. A load
generator could not tell a right answer from a wrong one. This script scales each convolution until its output has a
standard deviation of 1 on the picture, as normalisation does in a trained network. Then it adds a constant to the class
scores, so that about `--boxes` boxes exceed a confidence of 0.5. All else in the graph stays as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from azaion_engine.model.file import sample_picture
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.letterbox import Letterbox


def enliven(model: onnx.ModelProto, pictures: NDArray[np.float32], boxes: int) -> None:
    """Scales every convolution in place, in the order of the graph, and shifts the class scores.

    Args:
        model: A detector whose class scores are the output of the graph's last Sigmoid.
        pictures: float32 `[n, 3, height, width]`.
        boxes: Approximate number of the first picture's boxes whose class score shall exceed 0.5.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Conv"]:
        spread = float(_value(model, node.output[0], pictures).std())
        for name in node.input[1:]:
            scaled = numpy_helper.to_array(weights[name]) / spread
            weights[name].CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), name))
    sigmoid = next(node for node in reversed(graph.node) if node.op_type == "Sigmoid")
    logits = sigmoid.input[0]
    scores = np.sort(_value(model, logits, pictures)[0].max(axis=0).ravel())[::-1]
    # The threshold goes into the middle of the widest gap near that number, so that rounding moves no score across it.
    near = scores[boxes // 2 : boxes * 2]
    gap = int(np.argmax(near[:-1] - near[1:]))
    shift = numpy_helper.from_array(np.float32(-(near[gap] + near[gap + 1]) / 2), "lively_shift")
    graph.initializer.append(shift)
    at = list(graph.node).index(sigmoid)
    graph.node.insert(at, onnx.helper.make_node("Add", [logits, "lively_shift"], ["lively_logits"], "/lively/Add"))
    sigmoid.input[0] = "lively_logits"


def _value(model: onnx.ModelProto, name: str, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    outputs = list(model.graph.output)
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    try:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        value: NDArray[np.float32] = session.run([name], {model.graph.input[0].name: pictures})[0]
        return value
    finally:
        del model.graph.output[:]
        model.graph.output.extend(outputs)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--picture", type=Path, help="the one that will be posted; default: the first sample")
    parser.add_argument("--height", type=int, default=1280)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--boxes", type=int, default=20)
    options = parser.parse_args()
    pixels = decode(options.picture.read_bytes() if options.picture else sample_picture())
    letterbox = Letterbox.fit(pixels.shape[1], pixels.shape[0], options.height, options.width)
    model = onnx.load(options.model)
    enliven(model, letterbox.to_input(pixels)[None], options.boxes)
    onnx.save(model, options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
