from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.azaion_cli.conftest import azaion  # noqa: F401 (a fixture)
from tests.azaion_engine.models import make_detector

if find_spec("pyarrow") is None:  # as on a host that was set up without the extra `batch`
    collect_ignore_glob = ["test_*.py"]

from azaion_batch.job import Job, planned_job, reader_of
from azaion_batch.parts import Part, Writer, part_of
from azaion_batch.plan import Chunk
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages.detecting import Detecting
from azaion_batch.storage import Place
from azaion_engine.settings import DetectorSettings


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model that runs in a millisecond."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(make_detector())
    return path


@pytest.fixture
def settings(tiny: Path) -> BatchSettings:
    """Every box of the tiny model, on one thread."""
    return BatchSettings.of(DetectorSettings(model=str(tiny), engine="onnx", confidence=0, threads=1))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with nine pictures, of which no two are alike."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(9):
        write_picture(folder / f"{index}.png", index)
    return folder


def write_picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (40 + seed, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)


class Fragile(Detecting):
    """A worker that one picture kills."""

    def _detect(self, chunk: Chunk, read: Any) -> bytes:
        if any(Path(entry.name).stem == "013" for entry in chunk.entries):
            os._exit(1)
        return super()._detect(chunk, read)


Run = Callable[..., list[Part]]


@pytest.fixture
def run(settings: BatchSettings) -> Run:
    """Runs a job's stages in this process, one chunk after the other, as Ray Data does in its workers."""

    def run_job(given: Sequence[str | Path], out: Path | str, *, most: int | None = None, **how: Any) -> list[Part]:
        job_settings = how.pop("settings", settings)
        search = how.pop("search", Search())
        run_settings = RunSettings(**{"part_pictures": 4, **how})
        entries = find_entries([str(one) for one in given], search)
        with planned_job(Place.of(str(out)), job_settings, run_settings, entries) as job:
            return detect_here(job, most)

    return run_job


def detect_here(job: Job, most: int | None = None) -> list[Part]:
    import pyarrow as pa

    read, write = reader_of(job), Writer(job.out)
    detecting = Detecting(job.settings, threads=1)
    parts = []
    for chunk in job.left[:most]:
        batch = pa.table({"work": [chunk.to_line()]})
        [row] = write(detecting(read(batch))).to_pylist()
        if row["failure"] is not None:
            raise pickle.loads(row["failure"])
        parts.append(part_of(row["part"]))
    return parts


def rows_in(out: Path) -> list[dict[str, Any]]:
    """Returns all rows of a local output, by source and frame."""
    import pyarrow.parquet as pq

    rows = [row for part in sorted((out / "parts").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    return sorted(rows, key=lambda row: (row["source"], row["frame"] or 0))


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]
