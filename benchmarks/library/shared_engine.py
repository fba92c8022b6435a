"""Shared engine: what handing pictures to its process costs, by memory that both see and by the socket, in turns.

    python -m benchmarks.library.shared_engine --json FILE [--turns 6] [--pictures 20000] [--clients 1]

Clients hand JPEGs of 640x640 from files to a stand-in engine, which answers a batch of 32 in 4 ms, two at a time. Each
turn tells the rate and, a picture, the processor time of the clients' process and of the engine's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from azaion_engine.detector import Detector
from azaion_engine.engines.shared.client import SharedEngine
from azaion_engine.engines.shared.window import Window
from azaion_engine.errors import PictureError
from benchmarks.library.batch import make_folder
from benchmarks.records.machine import machine
from benchmarks.service.speedups import JpegEngine

_SIDE = 640
_FILES = 2_000
"""Names of the pictures' files, of which 64 differ."""


def one_turn(detectors: Sequence[Detector], paths: Sequence[Path], host: int) -> dict[str, float]:
    """Detects in the pictures, each detector in all of them, and returns what it took.

    Args:
        detectors: Of one shared engine, and of this process.
        paths: The pictures.
        host: The engine's process.
    """

    def detect(detector: Detector) -> None:
        for found in detector.detect_each(paths):
            assert not isinstance(found, PictureError), found

    processes = {"client": psutil.Process(), "engine": psutil.Process(host)}
    before = {name: process.cpu_times() for name, process in processes.items()}
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(detectors)) as pool:
        list(pool.map(detect, detectors))
    seconds, pictures = time.perf_counter() - begun, len(paths) * len(detectors)
    turn = {"rate": pictures / seconds}
    for name, process in processes.items():
        after = process.cpu_times()
        used = (after.user - before[name].user) + (after.system - before[name].system)
        turn[f"{name}_us"] = used / pictures * 1e6
    return turn


def measure(turns: int, pictures: int, clients: int, folder: Path) -> dict[str, Any]:
    """Returns the turns of both ways and their medians; every second turn begins with the other way."""
    make_folder(folder, min(_FILES, pictures), _SIDE, _SIDE)
    files = sorted(folder.iterdir())
    paths = [files[index % len(files)] for index in range(pictures)]
    key = f"benchmark of process {os.getpid()}"
    engines = [SharedEngine.open(lambda: JpegEngine, key) for _ in range(clients)]
    detectors = [Detector(engine, model_name="stand-in") for engine in engines]
    found: dict[str, list[dict[str, float]]] = {"window": [], "socket": []}
    one_turn(detectors, paths[:_FILES], engines[0].host)  # warms up
    for turn in range(turns):
        for way in sorted(found, reverse=bool(turn % 2)):
            # Windows that refuse leave the way of large messages, and of systems without such memory.
            with mock.patch.object(Window, "take", Window.take if way == "window" else lambda *_: False):
                found[way].append(one_turn(detectors, paths, engines[0].host))
    for detector in detectors:
        detector.close()
    medians = {
        way: {name: statistics.median(one[name] for one in some) for name in some[0]} for way, some in found.items()
    }
    return {**found, "medians": medians, "ratio": medians["window"]["rate"] / medians["socket"]["rate"]}


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6, help="of each way")
    parser.add_argument("--pictures", type=int, default=20_000, help="of each client in a turn")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.turns, given.pictures, given.clients, Path(folder))
    given.json.write_text(json.dumps({"machine": machine(), **found}, indent=2) + "\n")
    print(json.dumps({"medians": found["medians"], "ratio": found["ratio"]}))


if __name__ == "__main__":
    main()
