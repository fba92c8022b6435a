"""Entropy time: what it costs to check on the GPU that the scans of JPEGs are whole.

    python -m benchmarks.library.entropy_time --json FILE [--size 640] [--batches 1 8 32] [--pairs 8] [--seconds 0.2]

JPEGs are of quality 90 with noise, as those of `pipeline`. Without `--size` it measures 640 and 1280. For each batch:
the kernels alone, the check alone with its upload and its answer, and processor time and rate of a loader, which
decodes and letterboxes, with the check and without it, in pairs of turns, every second pair in the other order. It also
says whether whole scans are taken for whole, and cut ones are not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from azaion_engine.cuda.context import cuda_context, make_stream
from azaion_engine.cuda.memory import DeviceMemory
from azaion_engine.cuda.staging import Staging
from azaion_engine.pictures.gpu import jpeg_decoder
from azaion_engine.pictures.gpu.entropy_kernel import SCAN, CheckedJpeg, EntropyKernel, checked_jpeg
from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoder
from azaion_engine.pictures.gpu.loader import PictureLoader
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import JpegPicture
from benchmarks.library.pipeline import make_jpegs
from benchmarks.library.raw_head import spread
from benchmarks.records.machine import machine

SIZES, BATCHES = (640, 1280), (1, 8, 32)
KERNELS = 20
"""Launches of the kernel between two looks at the clock."""


class Turn(NamedTuple):
    """How long an action takes that is repeated.

    Attributes:
        us: Microseconds each time.
        processor_us: Microseconds of processor time each time, of the calling thread.
    """

    us: float
    processor_us: float


def measure(size: int, batches: Sequence[int], pairs: int, seconds: float) -> dict[str, Any]:
    """Measures JPEGs of one size.

    Args:
        size: Width and height of pictures and network input, in pixels.
        batches: Numbers of JPEGs.
        pairs: Pairs of turns.
        seconds: Duration of a turn.

    Returns:
        `jpeg_kb`, and for each batch: `kernel_us` and `check_us`, microseconds a batch; `processor_us`, microseconds of
        processor time a picture, and `rates`, pictures per second of each turn, both by `with` and `without`; `ratio`,
        `spread` of the paired rates; `right`, whether the check tells whole scans from cut ones.
    """
    jpegs = make_jpegs(size, size)
    record: dict[str, Any] = {"jpeg_kb": round(sum(map(len, jpegs)) / len(jpegs) / 1000)}
    for batch in batches:
        record[str(batch)] = _measure_batch(size, [jpegs[i % len(jpegs)] for i in range(batch)], pairs, seconds)
    return record


def _measure_batch(size: int, jpegs: list[bytes], pairs: int, seconds: float) -> dict[str, Any]:
    with cuda_context(0).active():
        return _measure_here(size, jpegs, pairs, seconds)  # PyCUDA frees streams only while the context is active


def _measure_here(size: int, jpegs: list[bytes], pairs: int, seconds: float) -> dict[str, Any]:
    context, count = cuda_context(0), len(jpegs)
    letterbox = Letterbox.fit(size, size, size, size)
    pictures = [JpegPicture(letterbox, jpeg) for jpeg in jpegs]
    cut = [JpegPicture(letterbox, jpeg[: len(jpeg) * 2 // 3] + b"\xff\xd9") for jpeg in jpegs]
    with ExitStack() as stack:
        stream = make_stream(context.driver)
        kernel = EntropyKernel(context.driver, count)
        stack.callback(kernel.free)
        found = _kernel_times(kernel, jpegs, seconds)
        network_input = DeviceMemory(context.driver, (count, 3, size, size), np.dtype(np.float16))
        stack.callback(network_input.free)
        copiers = stack.enter_context(ThreadPoolExecutor(1))
        staging = Staging(context, stream, copiers, network_input.bytes)
        stack.callback(staging.free)
        loader = PictureLoader(
            context.driver, network_input, staging, stream, lambda: JpegDecoder(0, count, (size, size))
        )
        stack.callback(loader.free)

        def load(given: Sequence[JpegPicture] = pictures) -> list[int]:
            assert loader.load(given) == [None] * count
            stream.synchronize()
            doubtful = loader.doubtful()
            loader.finish()
            return doubtful

        found["right"] = load() == [] and load(cut) == [*range(count)]
        turns: dict[str, list[Turn]] = {"with": [], "without": []}
        for turn in range(pairs):
            for name in list(turns)[:: 1 if turn % 2 == 0 else -1]:
                with ExitStack() as switch:
                    if name == "without":
                        switch.enter_context(_without_check())
                    turns[name].append(_turn(load, seconds))
    found["processor_us"] = {
        name: round(float(np.median([turn.processor_us for turn in turns[name]])) / count, 2) for name in turns
    }
    rates = {name: [round(1e6 * count / turn.us, 1) for turn in turns[name]] for name in turns}
    found["rates"] = rates
    found["ratio"] = spread([ours / theirs for ours, theirs in zip(rates["with"], rates["without"], strict=True)])
    return found


def _kernel_times(kernel: EntropyKernel, jpegs: list[bytes], seconds: float) -> dict[str, Any]:
    given = [checked for jpeg in jpegs if (checked := checked_jpeg(jpeg)) is not None]

    def check() -> None:
        kernel.start(given)
        assert kernel.whole().all()

    def launch() -> None:
        for _ in range(KERNELS):
            kernel._launch(kernel._memory.address, table)
        kernel._stream.synchronize()

    check()  # the scans are on the GPU now
    table = kernel._memory.host[: len(given) * SCAN.itemsize].view(SCAN)
    return {
        "kernel_us": round(_turn(launch, seconds).us / KERNELS, 1),
        "check_us": round(_turn(check, seconds).us, 1),
    }


def _turn(action: Callable[[], object], seconds: float) -> Turn:
    """Repeats an action, which has to wait for the GPU itself, for some seconds, at least once."""
    count, processor, begun = 0, time.thread_time(), time.perf_counter()
    while count == 0 or time.perf_counter() - begun < seconds:
        action()
        count += 1
    used, took = time.thread_time() - processor, time.perf_counter() - begun
    return Turn(1e6 * took / count, 1e6 * used / count)


@contextmanager
def _without_check() -> Iterator[None]:
    """Makes decoders trust every JPEG, as before there was a check; not even its header is read."""
    trusted = CheckedJpeg(b"", 0, b"")
    with (
        mock.patch.object(jpeg_decoder, "checked_jpeg", return_value=trusted),
        mock.patch.object(JpegDecoder, "_check"),
    ):
        yield


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="*", default=SIZES)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--pairs", type=int, default=8, help="pairs of turns")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a turn")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    record: dict[str, Any] = {"machine": machine()}
    for size in options.size:
        record[str(size)] = measure(size, options.batches, options.pairs, options.seconds)
        options.json.write_text(json.dumps(record, indent=2) + "\n")
        print(size, json.dumps(record[str(size)]), flush=True)


if __name__ == "__main__":
    main()
