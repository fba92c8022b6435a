"""Raw head: compares the rate of a raw YOLO head with that of the same network exported end to end.

    python -m benchmarks.library.raw_head twin END_TO_END.onnx RAW.onnx
    python -m benchmarks.library.raw_head rate END_TO_END.onnx RAW.onnx --size 640 --batch 32 --json FILE

`twin` cuts the selection of the best 300 off a YOLO26 export, so that the network ends in `[batch, 4 + classes,
anchors]` with the centre, width and height of each box, as Ultralytics' raw exports do. `rate` measures the pipeline,
encoded pictures to boxes in one process, with both files in turns. Suppression keeps every box there, as the end to end
head does. The raw head still answers fewer boxes: only the end to end one can answer an anchor under several classes.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from azaion_engine import Detector
from azaion_engine.model.file import sample_picture
from benchmarks.records.machine import machine

NMS_IOU = {"end_to_end": {}, "raw": {"nms_iou": 1.0}}
"""Settings by name: boxes of one class overlap by at most 1, so that none is suppressed."""


def make_twin(model: onnx.ModelProto) -> None:
    """Makes a YOLO26 end-to-end export raw, in place.

    Its graph decodes the two corners `a` and `b` of each box, joins them by Concat, scales them by the stride, joins
    them with the scores to `[batch, 4 + classes, anchors]`, transposes that and selects by TopK.
    """
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    top = next(node for node in graph.node if node.op_type == "TopK")
    node = maker[top.input[0]]
    while node.op_type != "Transpose":
        node = maker[node.input[0]]
    joined = maker[node.input[0]]
    corners = maker[maker[joined.input[0]].input[0]]
    a, b = corners.input
    graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "raw_half"))
    made = [
        helper.make_node("Add", [a, b], ["raw_sum"]),
        helper.make_node("Mul", ["raw_sum", "raw_half"], ["raw_centre"]),
        helper.make_node("Sub", [b, a], ["raw_size"]),
    ]
    at = list(graph.node).index(corners)
    for offset, new in enumerate(made):
        graph.node.insert(at + offset, new)
    corners.input[:] = ["raw_centre", "raw_size"]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(joined.output[0], onnx.TensorProto.FLOAT, ["batch", None, None]))
    needed = {joined.output[0]}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for entry in model.metadata_props:
        if entry.key == "end2end":
            entry.value = "False"
    onnx.checker.check_model(model)


def rate(paths: dict[str, Path], size: int, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measures the pipeline's rate with each file, in turns.

    Returns:
        `boxes` and `rates` (pictures per second, one per round) by name, and `ratios` of raw over end to end.
    """
    picture = options.picture.read_bytes() if options.picture else sample_picture()
    with ExitStack() as stack:
        open_one = {
            "engine": options.engine, "height": size, "width": size, "batch_size": batch, "optimization_level": 1,
            "precision": options.precision,
        }  # fmt: skip
        if options.cache:
            open_one["cache_dir"] = options.cache
        detectors = {
            name: stack.enter_context(Detector.open(model=str(path), **open_one, **NMS_IOU[name]))
            for name, path in paths.items()
        }
        boxes = {}
        for name, detector in detectors.items():
            detector.warm_up()
            boxes[name] = len(detector.detect(picture)[0])
        rates: dict[str, list[float]] = {name: [] for name in detectors}
        for _ in range(options.rounds):
            for name, detector in detectors.items():
                rates[name].append(_rate(detector, picture, options.seconds))
    ratios = [round(raw / whole, 3) for whole, raw in zip(rates["end_to_end"], rates["raw"], strict=True)]
    return {"size": size, "batch": batch, "boxes": boxes, "rates": rates, "ratios": ratios}


def _rate(detector: Detector, picture: bytes, seconds: float) -> float:
    many = 64 * detector.engine.get_batch_size()
    done, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < seconds:
        detector.detect([picture] * many)
        done += many
    return round(done / took, 1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("twin", "rate"))
    parser.add_argument("end_to_end", type=Path)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--engine", default="tensorrt")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--picture", type=Path, help="default: the first sample")
    parser.add_argument("--cache", type=Path, help="folder of the plans")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.what == "twin":
        model = onnx.load(options.end_to_end)
        make_twin(model)
        onnx.save(model, options.raw)
        return
    found = rate({"end_to_end": options.end_to_end, "raw": options.raw}, options.size, options.batch, options)
    print(json.dumps(found))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
