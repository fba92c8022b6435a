"""`azaion bench`: measures the speed of a model on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from azaion_cli.console import make_table, print_json, print_pairs, print_table, stdout
from azaion_cli.options import (
    BatchOption,
    EngineOption,
    JsonOption,
    ModelArgument,
    SetOption,
    VerboseOption,
    read_settings,
)

if TYPE_CHECKING:
    from azaion_engine.detector import Detector

WARM_UP = 2
"""Executions before the measurement: the first ones load kernels and fill caches."""


def bench(
    model: ModelArgument = "demo",
    engine: EngineOption = None,
    batch_size: BatchOption = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Encoded picture to use; default: a sample.", exists=True)
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of each measurement.", min=0.1)] = 3.0,
    set_: SetOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure the engine alone at every batch size, and the way from encoded picture to boxes.

    The engine's figures include copying the batch in and the rows out; the rest runs in this process, without HTTP.
    """
    settings = read_settings(set_, model=model, engine=engine, batch_size=batch_size)

    from azaion_cli.live_build import build_progress
    from azaion_engine.detector import Detector
    from azaion_engine.model.file import sample_picture
    from azaion_engine.system.cores import available_cores

    encoded = picture.read_bytes() if picture else sample_picture()
    with Detector.open(settings, progress=build_progress()) as detector:
        detector.warm_up()
        result = {
            "model": detector.model_name,
            "engine": detector.engine.name,
            "input": list(detector.engine.get_input_shape()),
            "gpu": _gpu_name() if detector.engine.name.startswith("tensorrt") else None,
            "cores": available_cores(),
            "batch_sizes": [
                _engine_alone(detector, rows, seconds) for rows in _sizes(detector.engine.get_batch_size())
            ],
            "one_picture_ms": _one_picture(detector, encoded, seconds),
            "pipeline": _pipeline(detector, encoded, seconds, available_cores()),
        }
    if json_:
        print_json(result)
    else:
        _show(result)


def _sizes(largest: int) -> list[int]:
    """Returns 1, 2, 4 … and the largest."""
    return sorted({*(2**power for power in range(largest.bit_length())), largest})


def _times(call: Callable[[], Any], seconds: float) -> list[float]:
    """Returns the seconds of each call; makes at least three calls."""
    for _ in range(WARM_UP):
        call()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return took


def _engine_alone(detector: Detector, rows: int, seconds: float) -> dict[str, Any]:
    import numpy as np

    batch = np.random.default_rng(0).random((rows, 3, *detector.engine.get_input_shape()), np.float32)
    took = _times(lambda: detector.engine.run(batch), seconds)
    return {
        "batch_size": rows,
        "median_ms": round(median(took) * 1000, 3),
        "p95_ms": round(sorted(took)[int(len(took) * 0.95)] * 1000, 3),
        "pictures_per_s": round(rows / median(took), 1),
    }


def _one_picture(detector: Detector, encoded: bytes, seconds: float) -> dict[str, float]:
    """Returns the median milliseconds of each stage of a single picture."""
    stages: dict[str, list[float]] = {"decode": [], "engine": [], "boxes": [], "total": []}

    def once() -> None:
        marks = [time.perf_counter()]
        prepared = detector.prepare(encoded)
        marks.append(time.perf_counter())
        [rows] = detector.infer([prepared])
        if isinstance(rows, Exception):
            raise rows
        marks.append(time.perf_counter())
        detector.finish(prepared, rows)
        marks.append(time.perf_counter())
        spans = [*(later - earlier for earlier, later in pairwise(marks)), marks[-1] - marks[0]]
        for stage, span in zip(stages, spans, strict=True):
            stages[stage].append(span)

    _times(once, seconds)
    return {stage: round(median(took[WARM_UP:]) * 1000, 3) for stage, took in stages.items()}


def _pipeline(detector: Detector, encoded: bytes, seconds: float, threads: int) -> dict[str, Any]:
    """Returns the throughput for many pictures, decoded in threads while the engine runs, as in `azaion detect`."""
    from azaion_engine.errors import PictureError

    end = time.perf_counter() + seconds
    batch = detector.engine.get_batch_size()

    def copies() -> Iterator[bytes]:
        number = 0
        while number < 3 * batch or time.perf_counter() < end:
            yield encoded
            number += 1

    begun, pictures = time.perf_counter(), 0
    for found in detector.detect_each(copies(), threads=threads):
        if isinstance(found, PictureError):
            raise found
        pictures += 1
    rate = pictures / (time.perf_counter() - begun)
    return {"pictures": pictures, "pictures_per_s": round(rate, 1), "decode_threads": threads, "batch_size": batch}


def _gpu_name() -> str:
    from azaion_engine.cuda.gpu import describe_gpu

    return describe_gpu(0).name


def _show(result: dict[str, Any]) -> None:
    height, width = result["input"]
    print_pairs(
        [
            ("model", f"{result['model']}, input {height}x{width}"),
            ("engine", result["engine"] + (f" on {result['gpu']}" if result["gpu"] else "")),
            ("cores", str(result["cores"])),
        ]
    )
    columns = ("batch", "median ms", "p95 ms", "pictures/s")
    table = make_table(*columns, right=columns)
    for row in result["batch_sizes"]:
        table.add_row(
            str(row["batch_size"]), f"{row['median_ms']:.2f}", f"{row['p95_ms']:.2f}", f"{row['pictures_per_s']:.1f}"
        )
    stdout().print("\nengine alone", style="bold")
    print_table(table)
    stages, pipeline = result["one_picture_ms"], result["pipeline"]
    print()
    print_pairs(
        [
            ("one picture", ", ".join(f"{stage} {ms:.2f} ms" for stage, ms in stages.items())),
            (
                "many pictures",
                f"{pipeline['pictures_per_s']:.1f}/s, decoded in {pipeline['decode_threads']} threads, "
                f"batches of {pipeline['batch_size']}",
            ),
        ]
    )
