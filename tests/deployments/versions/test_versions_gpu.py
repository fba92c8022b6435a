"""A swap on a real GPU: two TensorRT engines in one process, opened and closed from other threads than the first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azaion_engine.detector import Detector
from azaion_engine.model.file import ModelFile, sample_picture
from deployments.service import DetectorService
from deployments.versions.checking import agreement_of, check_model
from deployments.versions.comparison import compare
from deployments.versions.version import Trial, Version, Wanted
from deployments.versions.versions import Versions
from tests.azaion_engine.models import make_detector
from tests.deployments.in_process import replica

CONFIDENCE = 0.05
GRACE_S = 10.0
"""Longer than a request takes."""


def version_of(path: Path, seed: int) -> Version:
    path.write_bytes(make_detector(seed=seed))
    return Version(model=str(path), sha256=ModelFile.read(str(path)).sha256)


class Opener:
    """Opens versions as a replica does."""

    def open_beside(
        self, version: Version, beside: DetectorService, unwanted: threading.Event
    ) -> tuple[DetectorService, str]:
        settings = version.applied_to(beside.settings)
        check_model(settings, unwanted)
        service = DetectorService(settings, Detector.open(settings), 2, front=beside.front)
        return service, agreement_of(service.detector)

    def try_out(self, before: DetectorService, after: DetectorService, trial: Trial) -> str:
        return str(compare(before.detector, after.detector, trial.pictures))


@pytest.mark.gpu
def test_a_swap_on_a_gpu_loses_no_picture_and_gives_each_versions_own_boxes(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    first, second = version_of(tmp_path / "first.onnx", 1), version_of(tmp_path / "second.onnx", 2)
    picture = sample_picture()

    async def ask(versions: Versions, answers: dict[str, set[tuple[int, ...]]], over: asyncio.Event) -> None:
        while not over.is_set():
            service = versions.pick()
            found = (await service.detect(picture, confidence=CONFIDENCE)).detections
            answers[str(service.version)].add(tuple(found.class_ids.tolist()))

    async def scenario(versions: Versions) -> dict[str, set[tuple[int, ...]]]:
        answers: dict[str, set[tuple[int, ...]]] = {first.id: set(), second.id: set()}
        over = asyncio.Event()
        callers = [asyncio.create_task(ask(versions, answers, over)) for _ in range(8)]
        wanted = Wanted(serving=first, candidate=second)
        while versions.follow(wanted, Trial((picture,)))[second.id].state == "opening":
            await asyncio.sleep(0.1)
        report = versions.follow(wanted)[second.id]
        assert " boxes of both in 1 pictures" in report.comparison
        assert (report.state, "as with ONNX Runtime" in report.agreement) == ("open", True), report
        for serving in (second, first, second):
            versions.follow(Wanted(serving=serving))
            await asyncio.sleep(1)
        await asyncio.sleep(GRACE_S + 1)  # the first engine is closed beside the running one
        over.set()
        await asyncio.gather(*callers)
        return answers

    settings = {"engine": "tensorrt", "cache_dir": tmp_path / "cache", "optimization_level": 1, "batch_size": 4}
    with replica(Detector.open, model=first.model, model_sha256=first.sha256, **settings) as inner:
        versions = Versions(first, inner.service, Opener(), grace_s=GRACE_S)
        answers = run(scenario(versions))
        assert versions.serving == second.id
        assert versions.current.detector.engine.name.startswith("tensorrt")
        versions.current.retire()
    assert all(len(found) == 1 for found in answers.values()), answers
    assert answers[first.id] != answers[second.id]
