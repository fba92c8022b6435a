"""Measures what no service can be faster than: the engine alone, and the pipeline in process.

    python -m benchmarks.library.in_process CONFIG [--seconds 10] [--picture FILE] [--json FILE]

The engine alone runs batches one after the other; on a GPU with the input there already. The
pipeline decodes, letterboxes, runs and makes boxes: `Detector.detect` in a loop. As a load generator does, both count
what was finished within the time. CONFIG is a Serve config; its `args` say model, engine, batch and size.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from azaion_engine import Detector, DetectorSettings
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
from azaion_engine.model.file import sample_picture
from benchmarks.library.pipeline import engine_alone
from benchmarks.records.machine import machine


def measure(settings: DetectorSettings, picture: bytes, seconds: float) -> dict[str, Any]:
    """Returns pictures per second of `engine` and `pipeline`, the batch size, and the boxes of the picture."""
    with Detector.open(settings) as detector:
        detector.warm_up()
        engine, batch = detector.engine, detector.engine.get_batch_size()
        [found] = detector.detect(picture)
        if isinstance(engine, TensorRTEngine):
            engine_rate, many = engine_alone(engine, seconds, [batch])[str(batch)], 64 * batch
        else:
            many = batch
            tensor = detector.prepare(picture).tensor
            assert tensor is not None
            tensors = np.stack([tensor] * batch)
            engine_rate = _rate(lambda: engine.run(tensors), batch, seconds)
        return {
            "engine": engine.name,
            "batch_size": batch,
            "engine_rate": engine_rate,
            "pipeline_rate": _rate(lambda: detector.detect([picture] * many), many, seconds),
            "boxes": found.to_dicts(),
        }


def _rate(run: Callable[[], Any], pictures: int, seconds: float) -> float:
    done, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < seconds:
        run()
        done += pictures
    return round(done / took, 3)


def settings_of(config: Path) -> DetectorSettings:
    """Reads a Serve config's `args`, without what only the service knows."""
    args = yaml.safe_load(config.read_text())["applications"][0]["args"]
    return DetectorSettings(**{key: value for key, value in args.items() if key in DetectorSettings.model_fields})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--picture", type=Path, help="default: the first sample")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    picture = options.picture.read_bytes() if options.picture else sample_picture()
    result = measure(settings_of(options.config), picture, options.seconds)
    print(json.dumps({key: value for key, value in result.items() if key != "boxes"}))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
