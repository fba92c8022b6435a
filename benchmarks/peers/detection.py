"""The part that every peer shares: encoded pictures in, answers out; only the serving around it differs.

Each peer's script reads these variables, which `benchmarks.peers.servers` sets:
    BENCHMARK_SETTINGS  JSON of `azaion_engine.DetectorSettings`
    BENCHMARK_WORKERS   copies of the detector, which share the cores
    BENCHMARK_PORT      where to listen, on 127.0.0.1
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from azaion_engine import Detector, DetectorSettings
from azaion_engine.settings import DEFAULT_BATCH_SIZE
from azaion_engine.system.cores import available_cores

SETTINGS = DetectorSettings(**json.loads(os.environ.get("BENCHMARK_SETTINGS", "{}")))
WORKERS = int(os.environ.get("BENCHMARK_WORKERS", "1"))
PORT = int(os.environ.get("BENCHMARK_PORT", "8000"))
THREADS = max(1, available_cores() // WORKERS)
BATCH_SIZE = SETTINGS.batch_size or (1 if SETTINGS.engine == "onnx" else DEFAULT_BATCH_SIZE)
"""As the service decides it: a CPU gains nothing from batches."""


class Detection:
    """One copy of the detector, which decodes the pictures of a batch in parallel."""

    def __init__(self) -> None:
        """Opens the detector with this worker's share of the cores and runs it once."""
        self._detector = Detector.open(SETTINGS, threads=THREADS, batch_size=BATCH_SIZE)
        self._decoders = ThreadPoolExecutor(min(THREADS, BATCH_SIZE))
        self._detector.warm_up()

    def __call__(self, pictures: list[bytes]) -> list[dict[str, Any]]:
        """Answers 1…`BATCH_SIZE` encoded pictures, with the service's own JSON without its timing."""
        prepared = list(self._decoders.map(self._detector.prepare, pictures))
        rows = self._detector.infer(prepared)
        found = [self._detector.finish(*pair) for pair in zip(prepared, rows, strict=True)]
        return [
            {"picture": {"width": f.picture_width, "height": f.picture_height}, "boxes": f.to_dicts()} for f in found
        ]
