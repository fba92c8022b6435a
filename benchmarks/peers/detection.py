"""Detection: turns encoded pictures into answers; all peers use it, and differ only in how they serve it.

It reads these environment variables, which `benchmarks.peers.servers` sets:
    BENCHMARK_SETTINGS  JSON of `azaion_engine.DetectorSettings`
    BENCHMARK_WORKERS   number of copies of the detector; they share the cores
    BENCHMARK_PORT      port to listen on, at 127.0.0.1
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
"""The same default as in the service: 1 on a CPU, which gains nothing from batches."""


class Detection:
    """One copy of the detector; it decodes the pictures of a batch in parallel."""

    def __init__(self) -> None:
        """Opens the detector with this worker's share of the cores and warms it up."""
        self._detector = Detector.open(SETTINGS, threads=THREADS, batch_size=BATCH_SIZE)
        self._decoders = ThreadPoolExecutor(min(THREADS, BATCH_SIZE))
        self._detector.warm_up()

    def __call__(self, pictures: list[bytes]) -> list[dict[str, Any]]:
        """Answers 1 to `BATCH_SIZE` encoded pictures with the same JSON as the service, except for its timing."""
        prepared = list(self._decoders.map(self._detector.prepare, pictures))
        rows = self._detector.infer(prepared)
        for one in rows:
            if isinstance(one, Exception):
                raise one
        found = [self._detector.finish(*pair) for pair in zip(prepared, rows, strict=True)]
        return [
            {"picture": {"width": f.picture_width, "height": f.picture_height}, "boxes": f.to_dicts()} for f in found
        ]
