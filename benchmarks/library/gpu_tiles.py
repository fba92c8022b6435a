"""GPU tiles: measures tiles per second of large JPEGs, and compares them with the pipeline's rate on this machine.

    python -m benchmarks.library.gpu_tiles --settings FILE.yaml --json FILE [--picture SCENE.jpg]... [--seconds 4]

The settings are a Serve config, or a mapping of `DetectorSettings`. Without a picture, scenes of 8000×6000 pixels are
pasted from the sample pictures. In turns, the same detector runs JPEGs of the network's size, as `pipeline` does and
through `detect_each`, and the scenes through `detect_each` with tiles. The parts alone are measured too: letting the
engine hold a scene, one at a time and in three threads; running the tiles of a scene that is held; and merging.
The boxes of a scene are compared with those of the same scene decoded on the CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from azaion_engine import Detections, Detector, DetectorSettings
from azaion_engine.model.file import SAMPLES, sample_picture
from azaion_engine.pictures.codec import decode, encode_jpeg
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.prepared import HeldPicture
from azaion_engine.settings import Tiles
from azaion_engine.tiling.settings import tiles_of
from benchmarks.library.gpu_record import MARGIN, SAMPLE_CONFIDENCE, compare
from benchmarks.library.in_process import settings_of
from benchmarks.library.pipeline import make_jpegs, pipeline
from benchmarks.records.machine import machine

WIDTH, HEIGHT = 8000, 6000
BAR = 0.8
"""Tiles per second over the pipeline's rate."""


def paste_scene(seed: int) -> bytes:
    """Pastes the sample pictures side by side, each turned by chance, and adds noise; about as detailed as a photo."""
    random = np.random.default_rng(seed)
    samples = [decode(sample_picture(name)) for name in SAMPLES]
    scene = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    height, width = np.min([sample.shape[:2] for sample in samples], axis=0).tolist()
    for top in range(0, HEIGHT, height):
        for left in range(0, WIDTH, width):
            part = cv2.flip(samples[random.integers(len(samples))], int(random.integers(-1, 2)))
            place = scene[top : top + height, left : left + width]
            place[...] = part[: place.shape[0], : place.shape[1]]
    noise = random.integers(0, 20, (height, width, 3), np.uint8)
    for top in range(0, HEIGHT, height):
        for left in range(0, WIDTH, width):
            place = scene[top : top + height, left : left + width]
            cv2.add(place, noise[: place.shape[0], : place.shape[1]], dst=place)
    return encode_jpeg(scene)


def read_settings(path: Path) -> DetectorSettings:
    """Reads a Serve config, or a mapping of the detector's settings."""
    given = yaml.safe_load(path.read_text())
    return settings_of(path) if "applications" in given else DetectorSettings(**given)


def steady(results: Iterator[Any], size: int, seconds: float) -> float:
    """Returns inputs per second of a stream: counts from the first result on, which is `size` inputs like each."""
    next(results)
    begun = took = time.perf_counter()
    count = 0
    while took - begun < seconds:
        next(results)
        count += size
        took = time.perf_counter()
    results.close()  # type: ignore[attr-defined]
    return round(count / (took - begun), 1)


class Tiling:
    """The detector with its scenes and the way they are cut."""

    def __init__(self, detector: Detector, scenes: list[bytes], tiles: Tiles) -> None:
        """Counts the tiles of a scene."""
        self.detector, self.scenes, self.tiles = detector, scenes, tiles
        self.count = len(detector.tiled(scenes[0], tiles).pieces)

    def rate(self, seconds: float) -> float:
        """Measures tiles per second of all scenes in turn."""
        return steady(self.detector.detect_each(cycle(self.scenes), tiles=self.tiles), self.count, seconds)

    def parts(self, seconds: float) -> dict[str, Any]:
        """Measures the parts alone."""
        report: dict[str, Any] = {"tiles_of_a_scene": self.count}
        first = self._hold()
        if first is not None:
            first.release()
            report["hold_ms"] = [round(1000 * self._hold_seconds(), 2) for _ in range(12)][2:]
            report["held_scenes_per_s_of_3_threads"] = self._hold_in_threads(3, seconds)
            report["tiles_of_held_scenes_per_s"] = self._run_held(seconds)
        report["merge_ms"] = self._merge_ms()
        return report

    def against_cpu(self) -> dict[str, Any]:
        """Compares the boxes of a scene that the engine decodes with those of the same scene decoded on the CPU."""
        low = SAMPLE_CONFIDENCE - MARGIN
        [ours] = self.detector.detect(self.scenes[0], confidence=low, tiles=self.tiles)
        hold = self.detector.engine.hold
        self.detector.engine.hold = lambda picture: None  # type: ignore[method-assign]
        try:
            [theirs] = self.detector.detect(self.scenes[0], confidence=low, tiles=self.tiles)
        finally:
            self.detector.engine.hold = hold  # type: ignore[method-assign]
        return compare(ours, theirs)

    def _merge_ms(self) -> float:
        detector = self.detector
        picture = detector.tiled(self.scenes[0], self.tiles)
        picture.decode()
        batch = detector.engine.get_batch_size()
        for start in range(0, self.count, batch):
            pieces = picture.pieces[start : start + batch]
            made = [picture.prepare(piece, detector.prepare) for piece in pieces]
            for piece, found in zip(
                pieces, detector.finish_batch(made, detector.infer(made), [None] * len(made)), strict=True
            ):
                assert isinstance(found, Detections), found
                picture.answer(piece, found)
        begun = time.perf_counter()
        found = picture.result()
        took = time.perf_counter() - begun
        assert isinstance(found, Detections), found
        return round(1000 * took, 2)

    def _hold(self, index: int = 0) -> HeldPicture | None:
        picture = EncodedPicture(self.scenes[index % len(self.scenes)], self.detector.limits)
        return self.detector._hold(picture)

    def _hold_seconds(self) -> float:
        begun = time.perf_counter()
        held = self._hold()
        took = time.perf_counter() - begun
        if held is not None:
            held.release()
        return took

    def _hold_in_threads(self, threads: int, seconds: float) -> float:
        counts = [0] * threads
        end = time.perf_counter() + seconds

        def work(index: int) -> None:
            while time.perf_counter() < end:
                held = self._hold(index)
                counts[index] += held is not None
                if held is not None:
                    held.release()

        _all([lambda index=index: work(index) for index in range(threads)])  # type: ignore[misc]
        return round(sum(counts) / seconds, 1)

    def _run_held(self, seconds: float) -> float:
        """Runs tiles of one scene that stays held, on three threads, and makes their boxes."""
        detector = self.detector
        picture = detector.tiled(self.scenes[0], self.tiles)
        picture.hold()
        batch = detector.engine.get_batch_size()
        tiles = [picture.prepare(piece, detector.prepare) for piece in picture.pieces]
        endless = cycle(tiles)
        batches = [list(islice(endless, batch)) for _ in range(8)]
        counts, end = [0] * 3, time.perf_counter() + seconds

        def work(index: int) -> None:
            for made in cycle(batches):
                if time.perf_counter() >= end:
                    return
                detector.finish_batch(made, detector.infer(made), [None] * batch)
                counts[index] += batch

        _all([lambda index=index: work(index) for index in range(3)])  # type: ignore[misc]
        picture.close()
        return round(sum(counts) / seconds, 1)


def _all(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--picture", type=Path, action="append", help="a scene; may be repeated")
    parser.add_argument("--tiles", default="auto", help="auto, or the side of a tile in pixels")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    record: dict[str, Any] = machine()

    def keep(name: str, value: object) -> None:
        record[name] = value
        options.json.write_text(json.dumps(record, indent=1) + "\n")
        print(name, json.dumps(value), flush=True)

    scenes = [path.read_bytes() for path in options.picture or ()] or [paste_scene(seed) for seed in range(3)]
    with Detector.open(read_settings(options.settings)) as detector:
        detector.warm_up()
        size = detector.engine.get_input_shape()
        jpegs = make_jpegs(*size)
        tiling = Tiling(detector, scenes, tiles_of(options.tiles, Tiles()))
        picture = EncodedPicture(scenes[0], detector.limits).read_header()
        keep("engine", {"name": detector.engine.name, "batch": detector.engine.get_batch_size(), "input": size})
        keep(
            "bits_per_pixel",
            {
                "scene": round(8 * len(scenes[0]) / (picture.width * picture.height), 2),
                "picture": round(8 * len(jpegs[0]) / (size[0] * size[1]), 2),
            },
        )
        keep("scene", {"pixels": [picture.width, picture.height], "mb": round(len(scenes[0]) / 1e6, 1)})
        keep("parts_alone", tiling.parts(options.seconds / 2))
        rates: dict[str, list[float]] = {"pipeline": [], "detect_each": [], "tiles": []}
        for _ in range(options.turns):
            rates["pipeline"].append(pipeline(detector, jpegs, 2, 3, options.seconds))
            rates["tiles"].append(tiling.rate(options.seconds))
            rates["detect_each"].append(steady(detector.detect_each(cycle(jpegs)), 1, options.seconds))
            keep("inputs_per_s", rates)
        keep("boxes_against_the_cpu_way", tiling.against_cpu())
    middle = {name: statistics.median(values) for name, values in rates.items()}
    keep("medians", middle)
    keep("tiles over detect_each", round(middle["tiles"] / middle["detect_each"], 3))
    ratio = middle["tiles"] / middle["pipeline"]
    keep("bar", {"tiles over pipeline": round(ratio, 3), "aim": BAR, "met": ratio >= BAR})


if __name__ == "__main__":
    main()
