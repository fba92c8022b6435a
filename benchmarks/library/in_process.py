"""In process: measures the upper limits of a service's rate, which are the engine alone and the pipeline in process.

    python -m benchmarks.library.in_process CONFIG [--seconds 10] [--picture FILE] [--json FILE]

The engine alone runs batches one after the other; on a GPU the input is there already. The pipeline calls
`Detector.detect` in a loop: decode, letterbox, network, boxes. CONFIG is a Serve config; its `args` give model, engine,
batch size and picture size.
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
from azaion_engine.pictures.prepared import ArrayPicture
from benchmarks.library.pipeline import engine_alone
from benchmarks.records.machine import machine

_CALL_S = 2
"""Seconds of the engine's work in one call on a GPU: filling and draining the pipeline takes under a percent of it."""


def measure(settings: DetectorSettings, picture: bytes, seconds: float) -> dict[str, Any]:
    """Measures both rates.

    Returns:
        `engine` (its name), `batch_size`, `engine_rate` and `pipeline_rate` (pictures per second), and `boxes` (of the
        picture).
    """
    with Detector.open(settings) as detector:
        detector.warm_up()
        engine, batch = detector.engine, detector.engine.get_batch_size()
        [found] = detector.detect(picture)
        if isinstance(engine, TensorRTEngine):
            engine_rate = engine_alone(engine, seconds, [batch])[str(batch)]
            many = batch * round(_CALL_S * engine_rate / batch)
        else:
            many = batch
            prepared = detector.prepare(picture)
            assert isinstance(prepared, ArrayPicture)
            arrays = np.stack([prepared.array] * batch)
            engine_rate = _rate(lambda: engine.run(arrays), batch, seconds)
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
    """Reads the detector's settings from a Serve config's `args`; the service's own settings are left out."""
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
