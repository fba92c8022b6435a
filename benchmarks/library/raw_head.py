"""Raw head: compares the rate of a raw YOLO head with that of the same network exported end to end.

    python -m benchmarks.library.raw_head twin END_TO_END.onnx RAW.onnx
    python -m benchmarks.library.raw_head rate END_TO_END.onnx RAW.onnx --size 640 --batch 32 --json FILE

`twin` cuts the selection of the best 300 off a YOLO26 export, so that the network ends in `[batch, 4 + classes,
anchors]` with the centre, width and height of each box, as Ultralytics' raw exports do. `rate` measures the pipeline,
encoded pictures to boxes in one process, with both files in many short turns: a host's rate drifts by more than the two
differ, so only rates of one pair of turns are compared. Suppression keeps every box there, as the end to end head does.
The raw head still answers fewer boxes: only the end to end one can answer an anchor under several classes. On a GPU it
also measures a batch's network and its selection of boxes, each alone. Their sum would be a batch's time if selection
were in the network's own CUDA graph; as it is, selection runs beside the next batch's network.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from azaion_engine import Detector
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
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
    """Measures the pipeline's rate with each file, both open, in pairs of turns; every second pair in the other order.

    Returns:
        `boxes` and `rates` (pictures per second, one per pair) by name, `pictures` of a turn, `raw_over_end_to_end`
        (`spread` of the paired ratios), and by name `batch_ms`, what `stages` gives.
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
        many = max(_pictures_of_a_turn(detector, picture, options.seconds) for detector in detectors.values())
        rates: dict[str, list[float]] = {name: [] for name in detectors}
        for turn in range(options.rounds):
            for name in list(detectors)[:: 1 if turn % 2 == 0 else -1]:
                rates[name].append(_rate(detectors[name], picture, many))
        batch_ms = {name: stages(detector) for name, detector in detectors.items()}
    ratios = [raw / whole for whole, raw in zip(rates["end_to_end"], rates["raw"], strict=True)]
    return {
        "size": size, "batch": batch, "boxes": boxes, "pictures": many, "rates": rates,
        "raw_over_end_to_end": spread(ratios), "batch_ms": batch_ms,
    }  # fmt: skip


def spread(ratios: Sequence[float]) -> dict[str, Any]:
    """Returns median, 95 % interval of the median, quartiles and extremes of paired ratios.

    The interval lies between two of the sorted ratios, by the normal approximation of the binomial distribution: the
    ranks n/2 - 0.98 sqrt(n) and 1 + n/2 + 0.98 sqrt(n), for any distribution of the ratios.
    """
    ordered = np.sort(np.asarray(ratios, np.float64))
    count, reach = len(ordered), 0.98 * len(ordered) ** 0.5
    low, high = max(round(count / 2 - reach) - 1, 0), min(round(count / 2 + reach), count - 1)
    first, middle, third = map(_three, np.quantile(ordered, [0.25, 0.5, 0.75]))
    return {
        "pairs": count,
        "median": middle,
        "interval": [_three(ordered[low]), _three(ordered[high])],
        "quartiles": [first, third],
        "extremes": [_three(ordered[0]), _three(ordered[-1])],
    }


def stages(detector: Detector, times: int = 100) -> dict[str, float]:
    """Returns the milliseconds of a full batch's network and of its selection of boxes, each alone on the GPU.

    Args:
        detector: Has detected full batches, whose outputs are still on the GPU; on another engine the result is empty.
        times: How often each runs.
    """
    engine = detector.engine
    if not isinstance(engine, TensorRTEngine):
        return {}
    found = {}
    with engine._on_every_lane() as (lane, *_):
        steps: dict[str, Callable[[], object]] = {"network": partial(lane._enqueue, lane.batch)}
        if lane._selector is not None:
            steps["selection"] = partial(lane._selector.run, [detector.selection()] * lane.batch)
        for name, step in steps.items():
            step()
            lane.stream.synchronize()
            begun = time.perf_counter()
            for _ in range(times):
                step()
            lane.stream.synchronize()
            found[name] = _three(1000 * (time.perf_counter() - begun) / times)
    return found


def _three(value: float) -> float:
    return round(float(value), 3)


def _pictures_of_a_turn(detector: Detector, picture: bytes, seconds: float) -> int:
    """Returns how many pictures take about some seconds: whole batches, enough to fill the pipeline."""
    batch = detector.engine.get_batch_size()
    many = 8 * batch
    while True:
        took = many / _rate(detector, picture, many)
        if took >= seconds / 2:
            return max(round(many * seconds / took / batch), 8) * batch
        many *= 2


def _rate(detector: Detector, picture: bytes, many: int) -> float:
    begun = time.perf_counter()
    detector.detect([picture] * many)
    return round(many / (time.perf_counter() - begun), 1)


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
    parser.add_argument("--rounds", type=int, default=30, help="pairs of turns")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn, about")
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
