"""Quantised: rate, boxes and average precision of a model in FP32 and FP16 and of its quantised one, on one machine.

    python -m benchmarks.library.quantised MODEL QUANTISED --labels DATA --out FOLDER [--set key=value ...]

MODEL is an ONNX file or `demo`, QUANTISED what `azaion quantize` made of it, DATA labelled pictures as `azaion eval`
takes them; a model whose classes have no labels is measured with `--pictures DIR` in place of it. On a GPU TensorRT
builds all three engines; without one FP32 and the quantised model run on ONNX Runtime. A build that fails is recorded
with TensorRT's words. The record is FOLDER/quantised_<model>.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from azaion_engine.detector import Detector
from azaion_engine.errors import AzaionError
from azaion_engine.evaluation.reader import read_data_set
from azaion_engine.files.sources import find_sources
from azaion_engine.opening.tensorrt import missing_for_tensorrt
from azaion_engine.quantisation.comparison import Comparison
from azaion_engine.settings import DetectorSettings
from benchmarks.records.machine import machine


def measure(
    model: str, quantised: str, comparison: Comparison, given: dict[str, Any], *, on_gpu: bool
) -> list[dict[str, Any]]:
    """Measures each precision; a failure of the build becomes a row with its words.

    Args:
        model: Path of the ONNX file, or `demo`.
        quantised: Path of the quantised one.
        comparison: Measures.
        given: Other settings of the detector.
        on_gpu: Whether TensorRT runs here, so that FP16 is measured.
    """
    rows = []
    for name, path, precision in (("fp32", model, "fp32"), ("fp16", model, "fp16"), ("quantised", quantised, "fp16")):
        if name == "fp16" and not on_gpu:
            continue
        try:
            with Detector.open(DetectorSettings(**{**given, "model": path, "precision": precision})) as detector:
                info = detector.info
                measured = comparison.measure(detector, (info.quantised if info else None) or name)
                origin = detector.engine.origin
                built = origin.agreement.model_dump() if origin and origin.agreement else None
                drift = measured.drift.model_dump() if measured.drift else None
                rows.append({**asdict(measured), "drift": drift, "agreement_of_the_build": built})
        except AzaionError as error:
            if name == "fp32":  # nothing to compare with
                raise
            rows.append({"precision": name, "error": f"{error.code}: {error}"})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("quantised")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--labels", type=Path)
    data.add_argument("--pictures", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="labelled pictures to take; default: all")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    given = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in options.set)}
    labelled = read_data_set(options.labels, limit=options.limit) if options.labels else None
    pictures = (
        [Path(one.path) for one in find_sources([str(options.pictures)], recursive=True)][: options.limit]
        if options.pictures
        else []
    )
    settings = DetectorSettings(**given)
    missing = "engine: onnx" if settings.engine == "onnx" else missing_for_tensorrt()
    comparison = Comparison(pictures, labelled, tolerance_px=settings.build_tolerance_px, seconds=options.seconds)
    rows = measure(options.model, options.quantised, comparison, given, on_gpu=not missing)
    record = {
        "machine": machine(),
        "model": options.model,
        "quantised": options.quantised,
        "settings": given,
        "data": str(options.labels or options.pictures),
        "no_tensorrt": missing or None,
        "rows": rows,
        "map50_loss": _loss(rows),
        "rate_over_fp16": _rate_over(rows, "fp16"),
        "rate_over_fp32": _rate_over(rows, "fp32"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / f"quantised_{Path(options.model).stem}.json"
    target.write_text(json.dumps(record, indent=2) + "\n")
    print(target)


def _loss(rows: list[dict[str, Any]]) -> float | None:
    """Returns mAP50 of the first row less that of the last; None without both."""
    first, last = rows[0].get("map50"), rows[-1].get("map50")
    return None if first is None or last is None else round(first - last, 5)


def _rate_over(rows: list[dict[str, Any]], precision: str) -> float | None:
    """Returns the last row's rate as a multiple of that of a precision; None without both."""
    other = next((row.get("rate") for row in rows if row["precision"] == precision), None)
    rate = rows[-1].get("rate")
    return round(rate / other, 3) if rate and other else None


if __name__ == "__main__":
    main()
