"""Workers: what they make of an engine that fails, and of a machine without the model's file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from azaion_batch.plan import Chunk
from azaion_batch.rows import Answer, from_table
from azaion_batch.settings import BatchSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages.detecting import Detecting
from azaion_batch.stages.reading import Reader
from azaion_engine import Detector
from azaion_engine.engines.shared.client import SharedEngine
from azaion_engine.errors import ExecutionError, GpuLostError, ModelError
from azaion_engine.files import private_folder
from azaion_engine.system.cores import available_cores


@pytest.fixture
def batch(pictures: Path) -> Any:
    chunk = Chunk("0" * 32, tuple(find_entries([str(pictures)], Search())))
    return Reader(1 << 20)(pa.table({"work": [chunk.to_line()]}))


def answers(row: dict[str, Any]) -> list[Answer]:
    return [answer for rows in pa.ipc.open_stream(row["rows"]) for answer in from_table(rows)]


def test_a_picture_that_the_engine_fails_on_is_a_row_and_the_others_have_boxes(
    settings: BatchSettings, batch: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Detector.detect_each

    def failing(self: Detector, given: Iterable[Any], **how: Any) -> Iterator[Any]:
        def loads() -> Iterator[Any]:
            for picture in given:
                data = picture()
                if len(data) == sizes[4]:
                    raise ExecutionError("out of memory")
                yield data

        yield from whole(self, loads(), **how)

    sizes = [path.stat().st_size for path in sorted(pictures.iterdir())]
    assert sizes.count(sizes[4]) == 1
    [expected] = Detecting(settings, threads=1)(batch).to_pylist()
    monkeypatch.setattr(Detector, "detect_each", failing)
    [row] = Detecting(settings, threads=1)(batch).to_pylist()
    found = answers(row)
    for index, (one, other) in enumerate(zip(found, answers(expected), strict=True)):
        if index == 4:
            assert getattr(one.found, "code", None) == "execution_failed"
        else:
            assert list(one.found) == list(other.found)  # type: ignore[call-overload]


def test_a_worker_without_a_gpu_runs_a_picture_on_each_of_a_few_cores(settings: BatchSettings) -> None:
    settings = replace(settings, detector=settings.detector.model_copy(update={"threads": None}))
    worker = Detecting(settings, threads=1)
    assert worker._detector.engine.lanes == min(4, available_cores())


def test_workers_of_a_gpu_share_an_engine_and_find_what_one_of_its_own_finds(
    settings: BatchSettings, batch: Any
) -> None:
    workers = [Detecting(settings, threads=1, shared=True) for _ in range(2)]
    try:
        engines = [worker._detector.engine for worker in workers]
        assert all(isinstance(engine, SharedEngine) for engine in engines)
        assert len({engine.host for engine in engines if isinstance(engine, SharedEngine)}) == 1
        [expected] = Detecting(settings, threads=1)(batch).to_pylist()
        for worker in workers:
            [row] = worker(batch).to_pylist()
            assert row["rows"] == expected["rows"]
    finally:
        for worker in workers:
            worker._detector.close()


def test_a_lost_gpu_ends_the_worker(settings: BatchSettings, batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*given: Any, **how: Any) -> Iterator[Any]:
        raise GpuLostError("fell off the bus")

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(Detector, "detect_each", lost)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as left:
        Detecting(settings, threads=1)(batch)
    assert left.value.code == 1


def test_a_misread_model_ends_the_job(settings: BatchSettings, batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def misread(*given: Any, **how: Any) -> Iterator[Any]:
        raise ModelError("the network's answer is no list of boxes")

    monkeypatch.setattr(Detector, "detect_each", misread)
    [row] = Detecting(settings, threads=1)(batch).to_pylist()
    assert str(pickle.loads(row["failure"])) == "the network's answer is no list of boxes"


def test_a_machine_without_the_model_gets_it(
    settings: BatchSettings, tiny: Path, batch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_folder.tempfile, "gettempdir", lambda: str(tmp_path))
    [expected] = Detecting(settings, threads=1)(batch).to_pylist()
    model = tiny.read_bytes()
    tiny.unlink()
    [row] = Detecting(settings, 1, model)(batch).to_pylist()
    assert row == expected
