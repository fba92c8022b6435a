"""Batch: jobs that run together; it makes itself ready and runs on the engine's threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy

from azaion_engine.detector import Detector
from azaion_engine.engines.base import Found
from azaion_engine.errors import EngineClosedError, PictureError
from azaion_engine.pictures.prepared import PreparedBatch
from deployments.batching.job import Job


class Batch:
    """Jobs in the order of their answers; one thread at a time."""

    def __init__(self, jobs: list[Job], detector: Detector, on_batch: Callable[[int], None]) -> None:
        """Prepares nothing yet.

        Args:
            jobs: What to run.
            detector: What runs it.
            on_batch: Told of the batch when it is about to run, with the number of its pictures.
        """
        self._jobs = jobs
        self._detector = detector
        self._on_batch = on_batch
        self._errors: dict[int, Exception] = {}
        self._pictures = PreparedBatch([])

    def prepare(self) -> None:
        """Decodes what is not decoded, and stacks arrays; done while another batch runs.

        A picture that cannot be decoded becomes an error of its own.
        """
        for index, job in enumerate(self._jobs):
            try:
                job.prepare(self._detector)
            except PictureError as error:
                # A copy has no traceback: its frames would keep the batch, and every picture in it, alive.
                self._errors[index] = copy(error)
            except Exception as error:
                self._errors[index] = error
        self._live()
        with suppress(Exception):  # the engine then tries each alone, and its error reaches the caller
            _ = self._pictures.arrays

    def run(self) -> list[Found]:
        """Runs the jobs whose callers still wait; returns what was found, or the error, for each job."""
        jobs = self._live()  # asked again: some may have given up while another batch ran
        started = time.perf_counter()
        found: list[Found] = []
        if jobs:
            self._on_batch(len(jobs))
            try:
                found = self._detector.infer(self._pictures)
            except Exception as error:  # the engine is lost or closed
                found = [error] * len(jobs)
        ended = time.perf_counter()
        for job in jobs:
            job.started, job.ended = started, ended
        by_job = dict(zip(map(id, jobs), found, strict=True))
        # Nobody reads the result of a job that was given up, but @serve.batch counts them.
        return [
            self._errors.get(index) or by_job.get(id(job), EngineClosedError("the caller gave up"))
            for index, job in enumerate(self._jobs)
        ]

    def _live(self) -> list[Job]:
        """Returns the jobs that can run and whose callers still wait, and keeps their pictures together."""
        ready = [(job, job.picture) for job in self._jobs if job.picture is not None and not job.given_up]
        if len(self._pictures) != len(ready):
            self._pictures = PreparedBatch([picture for _, picture in ready])
        return [job for job, _ in ready]
