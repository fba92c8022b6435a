"""GPU record: checks TensorRT on this machine's GPU with the demo model, and writes the results to a file.

    python -m benchmarks.library.gpu_record --cache DIR --json FILE [--scenes 128] [--optimization-level 1]

It builds a plan, starts a second time from the cache, and compares the boxes of FP16 with those of ONNX Runtime in FP32
on the sample pictures and on held-out scenes. It checks that a plan is rebuilt if its manifest names another GPU or
another TensorRT version, or if the plan is truncated. With `--engine onnx` it compares ONNX Runtime with itself, which
checks the script without a GPU.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine import Detections, Detector, DetectorSettings
from azaion_engine.model.file import SAMPLES, sample_picture
from benchmarks.records.machine import machine
from demo.scenes.scene import render_scene
from demo.training.evaluate import HELD_OUT_SEED, evaluate

SAMPLE_CONFIDENCE = 0.25
"""Confidence threshold, the service's default."""
MARGIN = 0.02
"""Tolerance of the threshold: in another precision, a box within it may be on the other side."""
MATCH_PX = 4
"""Largest difference of a coordinate, pixels, at which two boxes count as the same."""


class Log(logging.Handler):
    """Log handler that keeps the lines of the library for the record."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps and prints one line."""
        self.lines.append(f"{record.levelname}: {record.getMessage()}")
        print(self.lines[-1], flush=True)


def compare(ours: Detections, reference: Detections) -> dict[str, Any]:
    """Compares two results for one picture; each box matches at most one of the other result.

    Returns:
        Numbers of boxes that exceed the threshold clearly (`boxes`: in the reference, `missing`: only there, `extra`:
        only in `ours`), and the largest differences between matched boxes: of a coordinate, in pixels of the picture,
        and of the confidence.
    """
    matches = _match(ours, reference)
    clear = np.flatnonzero(reference.confidences >= SAMPLE_CONFIDENCE + MARGIN).tolist()
    ours_clear = np.flatnonzero(ours.confidences >= SAMPLE_CONFIDENCE + MARGIN).tolist()
    found = [(index, matches[index]) for index in clear if index in matches]
    worst = max((float(np.abs(reference.boxes[i] - ours.boxes[j]).max()) for i, j in found), default=0.0)
    confidence = max((abs(float(reference.confidences[i] - ours.confidences[j])) for i, j in found), default=0.0)
    return {
        "boxes": len(clear),
        "missing": len(clear) - len(found),
        "extra": len(set(ours_clear).difference(matches.values())),
        "largest_corner_difference_px": round(worst, 3),
        "largest_confidence_difference": round(confidence, 4),
    }


def _match(ours: Detections, reference: Detections) -> dict[int, int]:
    """Pairs boxes of the same class, the nearest first; returns index in `reference` → index in `ours`."""
    apart = np.abs(reference.boxes[:, None] - ours.boxes[None]).max(axis=2)
    apart[reference.class_ids[:, None] != ours.class_ids[None]] = np.inf
    matches: dict[int, int] = {}
    for i, j in np.argwhere(apart <= MATCH_PX)[np.argsort(apart[apart <= MATCH_PX], kind="stable")].tolist():
        if i not in matches and j not in matches.values():
            matches[i] = j
    return matches


def rows_of(detector: Detector) -> Callable[[list[NDArray[np.uint8]]], list[NDArray[np.float32]]]:
    """Wraps a detector as a `demo.training.evaluate.Detect`."""

    def detect(pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        return [
            np.concatenate([found.boxes, found.confidences[:, None], found.class_ids[:, None]], 1, dtype=np.float32)
            for found in detector.detect(pictures, confidence=0.01)
        ]

    return detect


def _scene(index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    scene = render_scene(HELD_OUT_SEED + index, 1280, 1280)
    return scene.picture, scene.boxes


def _timed_open(settings: DetectorSettings, log: Log) -> tuple[Detector, dict[str, Any]]:
    first = len(log.lines)
    begun = time.perf_counter()
    detector = Detector.open(settings)
    return detector, {"seconds": round(time.perf_counter() - begun, 2), "log": log.lines[first:]}


def _rates(detector: Detector) -> dict[str, Any]:
    """Measures the rate of `run` on arrays in main memory, including the copies to and from the GPU."""
    height, width = detector.engine.get_input_shape()
    rates = {}
    for rows in sorted({1, detector.engine.get_batch_size()}):
        batch = np.random.default_rng(0).random((rows, 3, height, width), np.float32)
        for _ in range(3):
            detector.engine.run(batch)
        repeats = 20
        begun = time.perf_counter()
        for _ in range(repeats):
            detector.engine.run(batch)
        seconds = (time.perf_counter() - begun) / repeats
        rates[f"batch_{rows}"] = {"ms": round(seconds * 1000, 2), "pictures_per_s": round(rows / seconds, 1)}
    return rates


def _rebuilds(settings: DetectorSettings, cache: Path, log: Log) -> dict[str, Any]:
    """Checks that a plan is rebuilt: manifest of another GPU, manifest of another TensorRT version, truncated plan.

    Raises:
        SystemExit: A plan was not rebuilt.
    """
    quick = settings.model_copy(update={"optimization_level": 0, "cache_dir": cache / "rebuilds"})
    detector, first = _timed_open(quick, log)
    detector.close()
    results = {"first_build": first}
    [plan] = (cache / "rebuilds").rglob("*.engine")
    manifest = plan.with_name(plan.name + ".json")
    h100, h200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"
    here = json.loads(manifest.read_text())["key"]["gpu_name"]
    for case, change in {
        "manifest_of_another_gpu": {"gpu_name": h200 if here == h100 else h100},
        "manifest_of_another_tensorrt": {"tensorrt_version": "10.13.0"},
        "truncated_plan": None,
    }.items():
        if change is None:
            plan.write_bytes(plan.read_bytes()[:-1000])
        else:
            content = json.loads(manifest.read_text())
            content["key"].update(change)
            manifest.write_text(json.dumps(content))
        detector, results[case] = _timed_open(quick, log)
        origin = detector.engine.origin
        detector.close()
        if origin is None or origin.action != "built":
            raise SystemExit(f"{case}: not rebuilt, but {origin}")
    return results


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=128)
    parser.add_argument("--engine", default="tensorrt")
    parser.add_argument("--optimization-level", type=int)
    options = parser.parse_args()
    log = Log()
    logging.getLogger("azaion_engine").addHandler(log)
    logging.getLogger("azaion_engine").setLevel(logging.INFO)
    record: dict[str, Any] = {"machine": machine()}

    def keep(name: str, value: object) -> None:
        record[name] = value
        options.json.write_text(json.dumps(record, indent=2) + "\n")
        print(name, json.dumps(value), flush=True)

    with multiprocessing.get_context("spawn").Pool() as pool:  # spawn: CUDA must not be forked
        pairs = pool.map(_scene, range(options.scenes))
    settings = DetectorSettings(
        engine=options.engine, cache_dir=options.cache, optimization_level=options.optimization_level
    )
    detector, first = _timed_open(settings, log)
    keep("first_start", first)
    detector.close()
    detector, second = _timed_open(settings, log)
    keep("second_start", second)
    keep("engine", {"name": detector.engine.name, "batch": detector.engine.get_batch_size()})
    with Detector.open(engine="onnx") as reference:
        keep(
            "samples_against_onnxruntime_fp32",
            {
                name: compare(
                    detector.detect(sample_picture(name), confidence=SAMPLE_CONFIDENCE - MARGIN)[0],
                    reference.detect(sample_picture(name), confidence=SAMPLE_CONFIDENCE - MARGIN)[0],
                )
                for name in SAMPLES
            },
        )
        ours, theirs = (evaluate(rows_of(d), pairs, 16) for d in (detector, reference))
        keep(
            "held_out_scenes",
            {
                "scenes": options.scenes,
                "map50": round(ours.mean, 4),
                "map50_onnxruntime_fp32": round(theirs.mean, 4),
                "difference": round(abs(ours.mean - theirs.mean), 4),
            },
        )
    keep("run_on_host_arrays", _rates(detector))
    detector.close()
    if options.engine == "tensorrt":
        keep("rebuilds", _rebuilds(settings, options.cache, log))


if __name__ == "__main__":
    main()
