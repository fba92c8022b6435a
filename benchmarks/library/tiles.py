"""Tiles: average precision and rate on whole aerial scenes, cut by hand, shrunk, in tiles, and by SAHI, on this CPU.

    python -m benchmarks.library.tiles --scenes 3 --json FILE [--folder build/tiles] [--sahi .venv-sahi/bin/python]

Scenes of 8000×6000 pixels are rendered by `demo` from held-out seeds and kept in the folder. Each is looked at in four
ways, on one core: shrunk as a whole; in tiles (`auto`); cut by hand into pieces of the network's size at full size,
each scored against the objects of which it shows enough (`demo/README.md`); and by SAHI, which runs the same ONNX file
in a session with the same options (`benchmarks/peers/sahi_tiles.py`; `requirements-sahi.txt`).

Rates are tiles per second of processor time of the whole process, since the machine may be shared; wall time is beside
them. The session alone runs the same number of inputs that are prepared already, between the others.

On a shared machine the two rates differ by more than what they are to show. So the work beside the session is measured
by itself too: the same pictures, in tiles, with an engine that waits and gives a recorded answer. Its processor time,
decode, letterbox, threads, boxes and merging, is all that tiles add to the session's, but for what threads take from
each other's caches.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine import Detections, Detector
from azaion_engine.engines.base import InferenceEngine
from azaion_engine.pictures.codec import decode, encode_jpeg
from azaion_engine.settings import Tiles
from azaion_engine.tiling.grid import grid
from azaion_engine.tiling.merging import merge
from azaion_engine.tiling.settings import plan_tiles
from azaion_engine.tiling.tile import Tile
from benchmarks.records.machine import machine, versions_in
from demo.scenes.objects import CLASS_NAMES
from demo.scenes.scene import render_scene
from demo.training.evaluate import HELD_OUT_SEED, mean_average_precision

WIDTH, HEIGHT = 8000, 6000
FIRST_SEED = HELD_OUT_SEED + 128
"""After those that scored the demo model."""
CONFIDENCE = 0.1
"""Threshold of all ways: low, as average precision needs; below it SAHI changes from its defaults to NMS by IoU."""
LEAST_VISIBLE, LEAST_SIDE = 0.35, 6
"""Share and side in pixels of an object in a piece from which on it is truth there: the renderer's own."""
RECALL_BAR, RATE_BAR, PEER_BAR, MERGE_BAR_S = 0.97, 0.95, 2.0, 1.0
MERGED = 100_000
DEMO_MODEL = Path(__file__).parents[2] / "azaion_engine" / "data" / "demo.onnx"

Boxes = NDArray[np.float32]


def scenes_in(folder: Path, count: int) -> list[tuple[Path, Boxes]]:
    """Returns the JPEG and the truth `[n, 5]` of each scene; renders those that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        picture, truth = folder / f"{seed}.jpg", folder / f"{seed}.npy"
        if not truth.exists():
            scene = render_scene(seed, WIDTH, HEIGHT)
            picture.write_bytes(encode_jpeg(scene.picture))
            np.save(truth, scene.boxes)
        found.append((picture, np.load(truth)))
    return found


def rows_of(found: Detections) -> Boxes:
    """Returns `[n, 6]`, as `demo.training.evaluate` takes them."""
    return np.column_stack([found.boxes, found.confidences, found.class_ids]).astype(np.float32)


def cut_by_hand(size: int) -> list[Tile]:
    """Returns pieces side by side; those at the right and at the bottom may be smaller."""
    return [
        Tile(x, y, min(size, WIDTH - x), min(size, HEIGHT - y))
        for y in range(0, HEIGHT, size)
        for x in range(0, WIDTH, size)
    ]


def truth_in(tile: Tile, truth: Boxes) -> Boxes:
    """Returns the objects of which a piece shows enough, in its pixels."""
    low, high = np.maximum(truth[:, :2], (tile.x, tile.y)), np.minimum(truth[:, 2:4], (tile.right, tile.bottom))
    sides, whole = np.maximum(high - low, 0), truth[:, 2:4] - truth[:, :2]
    enough = (sides.prod(axis=1) >= LEAST_VISIBLE * whole.prod(axis=1)) & (sides >= LEAST_SIDE).all(axis=1)
    shown = np.concatenate([low - (tile.x, tile.y), high - (tile.x, tile.y), truth[:, 4:]], axis=1)
    kept: Boxes = shown[enough].astype(np.float32)
    return kept


class Clock:
    """Adds up wall and processor seconds of several turns."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.items = 0

    def __call__(self, work: Callable[[], Any], items: int) -> Any:
        """Runs `work`, which is `items` network inputs, and returns what it returns."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self.items += items
        return result

    def report(self) -> dict[str, float]:
        """Returns the seconds, and the inputs per second of either."""
        return {
            "inputs": self.items,
            "wall_s": round(self.wall, 2),
            "cpu_s": round(self.cpu, 2),
            "inputs_per_cpu_s": round(self.items / self.cpu, 3),
            "inputs_per_s": round(self.items / self.wall, 3),
        }


class WaitingEngine(InferenceEngine):
    """Waits where a network would run, and gives one answer, the rows `[1, n, 6]` of a picture with objects."""

    def __init__(self, answer: NDArray[np.float32], size: tuple[int, int], seconds: float) -> None:
        """Stores the answer, (height, width) of the input in pixels, and the time that it takes."""
        super().__init__()
        self._answer, self._size, self._seconds = answer, size, seconds

    @property
    def name(self) -> str:
        """Says what it does."""
        return "waiting"

    def get_input_shape(self) -> tuple[int, int]:
        """Returns the network's."""
        return self._size

    def get_batch_size(self) -> int:
        """Returns 1, as the session's on a CPU."""
        return 1

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        time.sleep(self._seconds)
        return [np.repeat(self._answer, len(data), axis=0)]

    def _release(self) -> None:
        pass


def measure_beside(detector: Detector, pictures: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Returns the processor time of tiles without that of the session."""
    size = detector.engine.get_input_shape()
    tile = Tile(0, 0, size[1], size[0]).of(decode(pictures[0]))
    [answer] = detector.engine.run(detector.prepare(tile).array[None])
    clock = Clock()
    with Detector(WaitingEngine(answer, size, 0.05), detector.names, confidence=CONFIDENCE) as waiting:
        waiting.detect(pictures[0], tiles="auto")
        count = len(plan_tiles(HEIGHT, WIDTH, size, Tiles()))
        for data in [*pictures] * rounds:
            clock(lambda: waiting.detect(data, tiles="auto"), count)  # noqa: B023
    return {**clock.report(), "cpu_ms_per_input": round(1000 * clock.cpu / clock.items, 2)}


def measure(scenes: Sequence[tuple[Path, Boxes]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the rates, and of each way the mean average precision and that of each class."""
    rates = {name: Clock() for name in ("session alone", "tiles")}
    beside: dict[str, float] = {}
    found: dict[str, list[Boxes]] = {"whole": [], "tiles": [], "by hand": []}
    pieces_truth: list[Boxes] = []
    with Detector.open(engine="onnx", threads=1, confidence=CONFIDENCE) as detector:
        network = detector.engine.get_input_shape()
        batch = np.random.default_rng(0).random((1, 3, *network), np.float32)
        detector.engine.run(batch)
        count = len(plan_tiles(HEIGHT, WIDTH, network, Tiles()))
        for picture, truth in scenes:
            data, pixels = picture.read_bytes(), decode(picture.read_bytes())
            rates["session alone"](lambda: _run_alone(detector, batch, count // 2), count // 2)
            [tiles] = rates["tiles"](lambda: detector.detect(data, tiles="auto"), count)  # noqa: B023
            rates["session alone"](lambda: _run_alone(detector, batch, count - count // 2), count - count // 2)
            found["tiles"].append(rows_of(tiles))
            found["whole"].append(rows_of(detector.detect(data, tiles="off")[0]))
            for tile in cut_by_hand(network[0]):
                found["by hand"].append(rows_of(detector.detect(np.ascontiguousarray(tile.of(pixels)))[0]))
                pieces_truth.append(truth_in(tile, truth))
            print(f"{picture.name}: {len(truth)} objects, {len(tiles)} found in tiles", flush=True)
        beside = measure_beside(detector, [picture.read_bytes() for picture, _ in scenes], rounds=3)
    truths = [truth for _, truth in scenes]
    scores = {way: score(rows, pieces_truth if way == "by hand" else truths) for way, rows in found.items()}
    return {**{name: clock.report() for name, clock in rates.items()}, "beside the session": beside}, scores


def _run_alone(detector: Detector, batch: NDArray[np.float32], times: int) -> None:
    for _ in range(times):
        detector.engine.run(batch)


def score(found: Sequence[Boxes], truths: Sequence[Boxes]) -> dict[str, Any]:
    """Returns the average precision at IoU 0.5."""
    report = mean_average_precision(found, truths, len(CLASS_NAMES))
    by_class = dict(zip(CLASS_NAMES, np.round(report.average_precision, 4).tolist(), strict=True))
    return {"map50": round(report.mean, 4), **by_class, "recall": np.round(report.recall, 4).tolist()}


def measure_sahi(python: Path, scenes: Sequence[tuple[Path, Boxes]]) -> dict[str, Any]:
    """Runs SAHI in its own environment; returns its rate and scores."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.npz"
        script = Path(__file__).parents[1] / "peers" / "sahi_tiles.py"
        pictures = [str(picture.absolute()) for picture, _ in scenes]
        subprocess.run(
            [python, script, DEMO_MODEL, out, "--confidence", str(CONFIDENCE), *pictures], check=True, cwd=folder
        )
        result = np.load(out)
        found = [result[f"rows_{index}"] for index in range(len(scenes))]
        rate = json.loads(str(result["report"]))
    return {**rate, "score": score(found, [truth for _, truth in scenes]), "versions": versions_in(python)}


def merge_seconds(oriented: bool) -> dict[str, Any]:
    """Merges the boxes of random objects, as overlapping tiles show them."""
    rng = np.random.default_rng(1)
    side, size, objects = 16_000, 640, int(MERGED / 1.66)
    sides = rng.uniform(15, 60, (objects, 2))
    corners = rng.uniform(0, side - 61, (objects, 2))
    all_ = np.concatenate([corners, corners + sides], axis=1)
    classes = rng.integers(0, 5, objects)
    parts = []
    for tile in grid(side, side, size=size, overlap=0.2):
        shown = np.clip(all_ - [tile.x, tile.y] * 2, 0, size)
        seen = (shown[:, 2:] - shown[:, :2] > 2).all(axis=1)
        boxes = np.clip(shown[seen] + rng.normal(0, 0.3, (seen.sum(), 4)), 0, size).astype(np.float32)
        turned = None
        if oriented:
            middle, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
            turned = np.concatenate([middle, sizes, rng.uniform(-0.05, 0.05, (len(boxes), 1))], 1, dtype=np.float32)
        confidences = np.sort(rng.uniform(0.25, 1, len(boxes)).astype(np.float32))[::-1]
        parts.append((tile, Detections(boxes, confidences, classes[seen], size, size, {}, turned)))
    clock = Clock()
    merged = clock(lambda: merge(parts, (side, side), Tiles()), sum(len(found) for _, found in parts))
    return {
        "boxes": clock.items,
        "objects": objects,
        "merged": len(merged),
        "cpu_s": round(clock.cpu, 3),
        "wall_s": round(clock.wall, 3),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/tiles"))
    parser.add_argument("--sahi", type=Path, help="Python of an environment with requirements-sahi.txt")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    merging = {"upright": merge_seconds(oriented=False), "oriented": merge_seconds(oriented=True)}
    print(merging, flush=True)
    scenes = scenes_in(options.folder, options.scenes)
    rates, scores = measure(scenes)
    alone, tiles = rates["session alone"]["inputs_per_cpu_s"], rates["tiles"]["inputs_per_cpu_s"]
    beside_rate = 1 / (1 / alone + rates["beside the session"]["cpu_ms_per_input"] / 1000)
    record: dict[str, Any] = {
        **machine(),
        "scenes": {"count": len(scenes), "size": [WIDTH, HEIGHT], "objects": sum(len(truth) for _, truth in scenes)},
        "map50": scores,
        "rates": rates,
        "merging": merging,
        "targets": {
            "map50 of tiles over by hand": [
                round(scores["tiles"]["map50"] / scores["by hand"]["map50"], 4),
                RECALL_BAR,
            ],
            "rate of tiles over session alone": [round(tiles / alone, 4), RATE_BAR],
            "the same by the work beside the session": [round(beside_rate / alone, 4), RATE_BAR],
            "seconds to merge 100,000 boxes": [merging["upright"]["cpu_s"], MERGE_BAR_S],
        },
    }
    _write(options.json, record)
    if options.sahi:
        record["sahi"] = peer = measure_sahi(options.sahi.absolute(), scenes)
        record["targets"]["rate of tiles over SAHI's"] = [round(tiles / peer["inputs_per_cpu_s"], 3), PEER_BAR]
        _write(options.json, record)


def _write(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({key: record[key] for key in ("map50", "rates", "targets")}, indent=1), flush=True)


if __name__ == "__main__":
    main()
