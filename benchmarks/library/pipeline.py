"""Pipeline: measures the rate from JPEG bytes to boxes on this machine's GPU, and compares it with the engine alone.

    python -m benchmarks.library.pipeline PLAN --height 1280 --width 1280 --batch 16 --json FILE [--seconds 5]

Everything runs in one process, on JPEGs of the network's size and quality 90. For the engine alone the inputs are on
the GPU already. The pipeline has threads that prepare pictures, and threads that run batches and make boxes. For each
target ratio the results say whether it was reached.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from azaion_engine import Detector
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
from azaion_engine.engines.tensorrt.run.lane import Lane
from azaion_engine.engines.tensorrt.run.resources import LANES
from azaion_engine.model.file import sample_picture
from azaion_engine.pictures.codec import decode, encode_jpeg
from azaion_engine.pictures.prepared import PreparedPicture
from benchmarks.records.machine import machine

PIPELINE_BAR, ARRAYS_BAR = 0.95, 0.90
"""Target ratios: pipeline over engine alone, and `run` on arrays over the slower of PCIe and engine."""
DIFFERENT_PICTURES = 64


def make_jpegs(height: int, width: int) -> list[bytes]:
    """Makes JPEGs with as much detail as photographs have, by adding noise: about 450 KB at 1280x1280."""
    base = cv2.resize(decode(sample_picture()), (width, height))
    random = np.random.default_rng(0)
    return [encode_jpeg(cv2.add(base, random.integers(0, 20, base.shape, np.uint8))) for _ in range(DIFFERENT_PICTURES)]


def rate(action: Callable[[], object], pictures: int, seconds: float) -> float:
    """Repeats an action, which has to wait for the GPU itself, for some seconds; returns pictures per second."""
    action()
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        action()
        count += pictures
    return round(count / (time.perf_counter() - begun), 1)


def engine_alone(engine: TensorRTEngine, seconds: float, sizes: Sequence[int] = ()) -> dict[str, float]:
    """Measures pictures per second by batch size on one lane, with inputs on the GPU and ten batches per wait.

    Default for `sizes`: the powers of two below the largest batch size, and the largest.
    """
    largest = engine.get_batch_size()
    with engine._on_lanes(1, 0) as (lane,):
        with pinned_batch(lane) as host:
            # Not zeros: they need less power, so a GPU that power or heat limits would run faster.
            host[...] = np.random.default_rng(0).random(host.shape[1:], np.float32)
            _upload(lane, host)

        def ten(rows: int) -> None:
            for _ in range(10):
                lane._enqueue(rows)
            lane.stream.synchronize()

        sizes = sizes or sorted({1 << power for power in range(largest.bit_length() - 1)} | {largest})
        return {str(rows): rate(lambda n=rows: ten(n), 10 * rows, seconds) for rows in sizes}  # type: ignore[misc]


def loading_alone(detector: Detector, jpegs: list[bytes], seconds: float) -> dict[str, float]:
    """Measures decoding, the letterbox, and both together on one lane, without the network; pictures per second."""
    batch = detector.engine.get_batch_size()
    prepared = [detector.prepare(jpeg) for jpeg in jpegs[:batch]]
    assert isinstance(detector.engine, TensorRTEngine)
    with detector.engine._on_lanes(1, 0) as (lane,):
        loader = lane.loader
        assert loader is not None, "the driver does not take the kernel"

        def load() -> None:
            assert loader.load(prepared).count(None) == batch
            lane.stream.synchronize()

        def decode_only() -> None:
            assert loader._decoder is not None, "nvJPEG is missing"
            assert None not in loader._decode(prepared)  # type: ignore[arg-type]
            lane.stream.synchronize()

        def letterbox_only() -> None:
            for _ in range(10):
                loader._kernel.launch(loader._records.address, batch, lane._input.address, loader._size, lane.stream)
            lane.stream.synchronize()

        return {
            "decode": rate(decode_only, batch, seconds),
            "decode_and_letterbox": rate(load, batch, seconds),
            "letterbox": rate(letterbox_only, 10 * batch, seconds),
        }


def pipeline(detector: Detector, pictures: list[bytes], preparers: int, runners: int, seconds: float) -> float:
    """Measures the whole pipeline; returns pictures per second.

    Args:
        detector: The detector.
        pictures: Encoded pictures, used again and again.
        preparers: Threads that prepare batches.
        runners: Threads that run batches and make boxes.
        seconds: Duration.
    """
    batch = detector.engine.get_batch_size()
    ready: queue.Queue[list[PreparedPicture]] = queue.Queue(2 * LANES)
    ends = threading.Event()
    answered = [0] * runners

    def prepare(first: int) -> None:
        at = first * batch
        while not ends.is_set():
            made = [detector.prepare(pictures[(at + i) % len(pictures)]) for i in range(batch)]
            at += batch * preparers
            while not ends.is_set():
                try:
                    ready.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue

    def run(index: int) -> None:
        while not ends.is_set():
            try:
                made = ready.get(timeout=0.1)
            except queue.Empty:
                continue
            for picture, rows in zip(made, detector.infer(made), strict=True):
                assert isinstance(rows, np.ndarray), rows
                detector.finish(picture, rows)
            answered[index] += len(made)

    threads = [threading.Thread(target=prepare, args=(i,)) for i in range(preparers)]
    threads += [threading.Thread(target=run, args=(i,)) for i in range(runners)]
    for thread in threads:
        thread.start()
    time.sleep(1)  # until the queue is full and all threads are busy
    begun, before = time.perf_counter(), sum(answered)
    time.sleep(seconds)
    result = (sum(answered) - before) / (time.perf_counter() - begun)
    ends.set()
    for thread in threads:
        thread.join()
    return round(result, 1)


def prepared(detector: Detector, jpegs: list[bytes], runners: int, seconds: float) -> float:
    """Measures batches that are prepared already, run by several threads; returns pictures per second."""
    batch = [detector.prepare(jpeg) for jpeg in jpegs[: detector.engine.get_batch_size()]]

    def infer(pictures: list[PreparedPicture]) -> None:
        assert not any(isinstance(found, Exception) for found in detector.infer(pictures))

    with ThreadPoolExecutor(runners) as pool:
        return rate(lambda: list(pool.map(infer, [batch] * 32)), 32 * len(batch), seconds)


def arrays(engine: TensorRTEngine, seconds: float) -> dict[str, float]:
    """Measures, in pictures per second, `run` on float32 arrays, upload from pinned memory, and copies into it."""
    batch, (height, width) = engine.get_batch_size(), engine.get_input_shape()
    data = np.random.default_rng(0).random((8 * batch, 3, height, width), np.float32)
    with engine._on_lanes(1, 0) as (lane,), pinned_batch(lane) as host, ThreadPoolExecutor(16) as pool:

        def copy(at: tuple[int, int]) -> None:
            host[at] = data[at]

        pcie = rate(lambda: _upload(lane, host), batch, seconds)
        copies = rate(lambda: list(pool.map(copy, np.ndindex(batch, 3))), batch, seconds)
    pinned = engine.empty_input(len(data))
    pinned[...] = data
    return {
        "pcie": pcie,
        "copies_into_pinned": copies,
        "run_8_batches": rate(lambda: engine.run(data), len(data), seconds),
        "run_8_batches_pinned": rate(lambda: engine.run(pinned), len(pinned), seconds),
        "run_1_batch": rate(lambda: engine.run(data[:batch]), batch, seconds),
        "run_1_row": rate(lambda: engine.run(data[:1]), 1, seconds),
    }


@contextmanager
def pinned_batch(lane: Lane) -> Iterator[np.ndarray[Any, Any]]:
    """Allocates pinned memory for one batch of arrays and frees it at the end."""
    host = lane._context.driver.pagelocked_empty(lane._input.shape, lane._input.dtype)
    try:
        yield host
    finally:
        host.base.free()


def _upload(lane: Lane, host: np.ndarray[Any, Any]) -> None:
    lane._context.driver.memcpy_htod_async(lane._input.address, host, lane.stream)
    lane.stream.synchronize()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--height", type=int, default=1280)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    record: dict[str, Any] = {"machine": machine()}

    def keep(name: str, value: object) -> None:
        record[name] = value
        options.json.write_text(json.dumps(record, indent=2) + "\n")
        print(name, json.dumps(value), flush=True)

    begun = time.perf_counter()
    engine = TensorRTEngine(
        options.plan.read_bytes(), batch_size=options.batch, height=options.height, width=options.width
    )
    with Detector(engine) as detector:
        detector.warm_up()
        keep("engine", {"name": engine.name, "batch": engine.get_batch_size(), "lanes": engine.lanes})
        keep("ready_s", round(time.perf_counter() - begun, 2))
        jpegs = make_jpegs(options.height, options.width)
        keep("jpeg_kb", round(sum(map(len, jpegs)) / len(jpegs) / 1000))
        keep("engine_alone_per_s", engine_alone(engine, options.seconds))
        keep("loading_alone_per_s", loading_alone(detector, jpegs, options.seconds))
        keep("prepare_alone_per_s", rate(lambda: detector.prepare(jpegs[0]), 1, 1))
        keep(
            "pipeline_per_s",
            {
                f"{preparers} prepare, {runners} run": pipeline(detector, jpegs, preparers, runners, options.seconds)
                for preparers, runners in ((1, 2), (1, 3), (2, 3))
            },
        )
        keep(
            "prepared_pictures_per_s",
            {str(runners): prepared(detector, jpegs, runners, options.seconds) for runners in (1, 2, 3)},
        )
        keep("detect_per_s", rate(lambda: detector.detect(jpegs * 8), 8 * len(jpegs), options.seconds))
        png = cv2.imencode(".png", decode(jpegs[0]))[1].tobytes()
        one_in_16 = [*jpegs[:15], png] * 4
        keep("pipeline_one_png_in_16_per_s", pipeline(detector, one_in_16, 8, 2, options.seconds))
        keep("arrays_per_s", arrays(engine, options.seconds))

    best = max(record["engine_alone_per_s"].values())
    allowed = min(best, record["arrays_per_s"]["pcie"])
    bars = {
        "pipeline_over_engine": (max(record["pipeline_per_s"].values()) / best, PIPELINE_BAR),
        "arrays_over_allowed": (record["arrays_per_s"]["run_8_batches"] / allowed, ARRAYS_BAR),
        "pinned_arrays_over_allowed": (record["arrays_per_s"]["run_8_batches_pinned"] / allowed, ARRAYS_BAR),
    }
    keep(
        "bars", {name: {"is": round(value, 3), "aim": aim, "met": value >= aim} for name, (value, aim) in bars.items()}
    )


if __name__ == "__main__":
    main()
