r"""Batch: the rate of a job on Ray Data against the pipeline in one process, in turns, on this machine.

    python -m benchmarks.library.batch --pictures 512 --json FILE [--settings engine=onnx model=demo]
    python -m benchmarks.library.batch --pictures 60000 --workers 1,2 --json FILE --settings cache_dir=DIR
    python -m benchmarks.library.batch --pictures 100000 --size 64 --rounds 1 --seconds 5 --json FILE \
        --settings engine=onnx model=TINY.onnx      # memory over time

The pictures are JPEGs of the network's size and quality 90, from files: 64 different ones under as many names as
`--pictures` says. A job's rate leaves out the first fifth of its pictures, while Ray and the engines start, and the
last twentieth, while workers run out of work: it is that of the others, from when that fifth is detected, though it may
not be written yet, until they are written. `whole_rate` leaves out planning alone, which is done once for all rounds
(`planning_s`). Two engines get twice as many pictures; `ratio_2_over_1` is their rate over that of one in the round.
`memory` has samples over the job: this process (`driver_mb`), the workers and the engines, Ray's other processes, all
without what they share, and the shared memory of the machine, which is Ray's object store if nothing else runs.
`growth_mb` is what a line through the samples of the second half rises by in that half.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from azaion_batch import job as job_module
from azaion_batch.cluster import find_workers, running_ray
from azaion_batch.job import Job, parts_of, planned_job
from azaion_batch.plan import Chunk
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages.detecting import Detecting
from azaion_batch.storage import Place
from azaion_engine import Detector
from azaion_engine.engines.shared import host_process
from azaion_engine.errors import PictureError
from azaion_engine.settings import DetectorSettings
from azaion_engine.system.cores import available_cores
from benchmarks.library.pipeline import make_jpegs
from benchmarks.records.machine import machine

_MEMORY = ("driver_mb", "workers_mb", "others_mb", "object_store_mb")
_SAMPLE_S = 5
"""Seconds between samples of memory: one looks at every process of Ray, which takes some hundredths of a second."""
_SAMPLES = 60
"""Samples of memory that a record keeps."""
_WORKER = re.compile("Detecting|" + host_process.__name__)
"""What the commands of workers and of the processes of shared engines have."""
_BEGIN, _END = 0.2, 0.95
"""Shares of a job's pictures between which its steady rate is taken."""


def make_folder(folder: Path, pictures: int, height: int, width: int) -> None:
    """Fills a folder with pictures, most of which are names of the same files."""
    jpegs = make_jpegs(height, width)
    for index in range(pictures):
        path = folder / f"{index:06d}.jpg"
        if index < len(jpegs):
            path.write_bytes(jpegs[index])
        else:
            path.hardlink_to(folder / f"{index % len(jpegs):06d}.jpg")


def pipeline_rate(settings: DetectorSettings, folder: Path, seconds: float) -> float:
    """Returns pictures a second of `Detector.detect_each` on the files, after some batches."""
    paths = sorted(folder.iterdir())
    with Detector.open(settings) as detector:
        detector.warm_up()
        threads = available_cores()
        list(detector.detect_each(paths[: 4 * detector.engine.get_batch_size()], threads=threads))
        begun, count = time.perf_counter(), 0
        for found in detector.detect_each(paths, threads=threads):
            assert not isinstance(found, PictureError), found
            count += 1
            if time.perf_counter() - begun > seconds:
                break
        return count / (time.perf_counter() - begun)


def planned(settings: DetectorSettings, folder: Path, part_pictures: int) -> Job:
    """Returns a job of the pictures in a folder."""
    entries = find_entries([str(folder)], Search())
    run = RunSettings(part_pictures=part_pictures)
    with (
        tempfile.TemporaryDirectory() as out,
        planned_job(Place.of(out), BatchSettings.of(settings), run, entries) as job,
    ):
        return job


def job_rates(job: Job, engines: int) -> dict[str, Any]:
    """Runs a job into a new folder and returns its rates and its memory over time."""
    times: list[tuple[float, int]] = []
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as out,
        _told_when_detected() as detected,
        running_ray(None),
        _sampled(times) as samples,
    ):
        done = 0
        workers = find_workers(job.settings.detector.engine, engines)
        for part in parts_of(replace(job, out=Place.of(out)), workers):
            assert not part.failures, part.told
            done += part.pictures
            times.append((time.monotonic(), done))
        spilled = _spilled()
        rate = steady_rate(detected(), times)
    ended, total = times[-1]
    return {
        "rate": rate,
        "whole_rate": total / (ended - begun),
        "seconds": ended - begun,
        "peak_gb": max(sum(one[name] for name in _MEMORY) for one in samples) / 1e3,
        "growth_mb": {name: _growth(samples[len(samples) // 2 :], name) for name in _MEMORY},
        "spilled_mb": spilled,
        "memory": samples[:: max(1, len(samples) // _SAMPLES)],
    }


def steady_rate(detected: list[tuple[float, int]], written: list[tuple[float, int]]) -> float:
    """Returns pictures per second, without those at the beginning and at the end.

    Parts that wait to be written when it begins are not counted: the rate is never more than what workers did.

    Args:
        detected: Times in seconds, and the number of pictures that were detected by then.
        written: The same of those that were written.
    """
    total = written[-1][1]
    begun, before = next(one for one in detected if one[1] >= _BEGIN * total)
    ended, done = next(one for one in written if one[1] >= _END * total)
    return (done - before) / (ended - begun) if ended > begun else float("nan")


@contextmanager
def _told_when_detected() -> Iterator[Callable[[], list[tuple[float, int]]]]:
    """Makes workers of this machine tell when a chunk is detected; yields what returns that, as a running sum."""
    with tempfile.NamedTemporaryFile("r") as told:
        path = told.name

        class TellingDetecting(Detecting):
            def _detect(self, chunk: Chunk, read: Any) -> bytes:
                rows = super()._detect(chunk, read)
                with open(path, "a") as file:
                    file.write(f"{time.monotonic()} {len(chunk.entries)}\n")
                return rows

        def detected() -> list[tuple[float, int]]:
            lines = sorted((float(at), int(count)) for at, count in map(str.split, told))
            return list(zip((at for at, _ in lines), accumulate(count for _, count in lines), strict=True))

        job_module.Detecting = TellingDetecting  # type: ignore[misc]
        try:
            yield detected
        finally:
            job_module.Detecting = Detecting  # type: ignore[misc]


def _growth(samples: list[dict[str, float]], name: str) -> float:
    seconds = np.array([one["seconds"] for one in samples])
    slope = np.polyfit(seconds, [one[name] for one in samples], 1)[0] if len(samples) > 2 else 0.0
    return round(float(slope * np.ptp(seconds)), 1)


@contextmanager
def _sampled(times: list[tuple[float, int]]) -> Iterator[list[dict[str, float]]]:
    """Yields a list that gets the memory of this process and its descendants, in MB, every few seconds.

    Args:
        times: Times and numbers of pictures done, which the samples tell, too.
    """
    begun = time.perf_counter()
    samples: list[dict[str, float]] = []
    ends = threading.Event()

    def sample() -> None:
        while True:  # a first one at once: a job may be over before the second
            found = dict.fromkeys(_MEMORY, 0.0)
            for process in [psutil.Process(), *psutil.Process().children(recursive=True), *_engines()]:
                try:
                    about, command = process.memory_info(), " ".join(process.cmdline())
                except psutil.Error:
                    continue
                is_own = process.pid == psutil.Process().pid
                name = "driver_mb" if is_own else "workers_mb" if _WORKER.search(command) else "others_mb"
                found[name] += (about.rss - about.shared) / 1e6
            found["object_store_mb"] = psutil.virtual_memory().shared / 1e6
            rounded = {name: round(value, 1) for name, value in found.items()}
            done = times[-1][1] if times else 0
            samples.append({"seconds": round(time.perf_counter() - begun, 1), "pictures": done, **rounded})
            if ends.wait(_SAMPLE_S):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ends.set()
        thread.join()


def _engines() -> list[psutil.Process]:
    """Returns the processes of shared engines, which are nobody's children."""
    return [
        one for one in psutil.process_iter(["cmdline"]) if host_process.__name__ in " ".join(one.info["cmdline"] or ())
    ]


def ratios_of(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the median of each ratio over the rounds that have it."""
    names = dict.fromkeys(key for turn in rounds for key in turn if key.startswith("ratio_"))
    return {name: statistics.median(turn[name] for turn in rounds if name in turn) for name in names}


def _spilled() -> float:
    """Returns how much Ray's object store has spilled to disk, in MB."""
    import ray
    from ray._private.internal_api import memory_summary

    # Named, because an earlier Ray of this machine may not have ended yet.
    for line in memory_summary(ray.get_runtime_context().gcs_address, stats_only=True).splitlines():
        if line.startswith("Spilled"):
            return float(line.split()[1])
    return 0.0


def main() -> None:
    """Runs the turns and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=512, help="for each engine")
    parser.add_argument("--size", type=int, default=1280, help="height and width of the pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30, help="of the pipeline in a round, at most")
    parser.add_argument("--part-pictures", type=int, default=256)
    parser.add_argument("--workers", default="1", help="numbers of engines, e.g. 1,2")
    parser.add_argument("--folder", type=Path, help="where the pictures are made; default: a temporary folder")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE", help="of the detector")
    given = parser.parse_args()
    settings = DetectorSettings(
        **{key: yaml.safe_load(value) for key, _, value in (s.partition("=") for s in given.settings)}
    )
    record: dict[str, Any] = {
        "machine": machine(),
        "settings": settings.model_dump(mode="json", exclude_defaults=True),
        "pictures": given.pictures,
        "size": given.size,
        "part_pictures": given.part_pictures,
        "planning_s": {},
        "rounds": [],
    }

    def keep(turn: dict[str, Any], **found: Any) -> None:
        turn |= found
        given.json.write_text(json.dumps(record | ratios_of(record["rounds"]), indent=2) + "\n")
        print(f"round {len(record['rounds'])}: {json.dumps(found)}", flush=True)

    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        jobs: dict[int, Job] = {}
        for engines in sorted(map(int, given.workers.split(","))):
            folder = Path(name, str(engines))
            folder.mkdir()
            make_folder(folder, engines * given.pictures, given.size, given.size)
            begun = time.perf_counter()
            jobs[engines] = planned(settings, folder, given.part_pictures)
            record["planning_s"][engines] = time.perf_counter() - begun
        for _ in range(given.rounds):
            turn: dict[str, Any] = {}
            record["rounds"].append(turn)
            keep(turn, pipeline_rate=pipeline_rate(settings, folder, given.seconds))
            for engines, job in jobs.items():
                found = job_rates(job, engines)
                keep(turn, **{f"workers_{engines}": found, f"ratio_{engines}": found["rate"] / turn["pipeline_rate"]})
                if engines > 1 and 1 in jobs:
                    keep(turn, **{f"ratio_{engines}_over_1": found["rate"] / turn["workers_1"]["rate"]})
    print(json.dumps(ratios_of(record["rounds"])))


if __name__ == "__main__":
    main()
