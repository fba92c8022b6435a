"""Batch: jobs that are prepared and run together, on the engine's threads."""

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
    """Jobs that run together, in the order of their results; used by one thread at a time."""

    def __init__(self, jobs: list[Job], detector: Detector, on_batch: Callable[[int], None]) -> None:
        """Stores the jobs; prepares nothing yet.

        Args:
            jobs: The jobs to run.
            detector: Prepares and runs them.
            on_batch: Called before the batch runs, with its number of pictures.
        """
        self._jobs = jobs
        self._detector = detector
        self._on_batch = on_batch
        self._errors: dict[int, Exception] = {}
        self._pictures = PreparedBatch([])

    def prepare(self) -> None:
        """Decodes the pictures that are still encoded, and stacks arrays, while another batch runs.

        A picture that cannot be decoded fails alone.
        """
        for index, job in enumerate(self._jobs):
            try:
                job.prepare(self._detector)
            except PictureError as error:
                # A copy has no traceback, whose frames would keep every picture of the batch in memory.
                self._errors[index] = copy(error)
            except Exception as error:
                self._errors[index] = error
        self._live()
        with suppress(Exception):  # the engine then runs each picture alone and returns its error
            _ = self._pictures.arrays

    def run(self) -> list[Found]:
        """Runs the jobs whose callers still wait; returns each job's rows or error."""
        jobs = self._live()  # again: callers may have given up while another batch ran
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
        self._finish(jobs, found)
        by_job = dict(zip(map(id, jobs), found, strict=True))
        # A job that was given up needs a result too: @serve.batch checks their number.
        return [
            self._errors.get(index) or by_job.get(id(job), EngineClosedError("the caller gave up"))
            for index, job in enumerate(self._jobs)
        ]

    def _finish(self, jobs: list[Job], found: list[Found]) -> None:
        """Makes the boxes of all pictures at once: one by one, on the event loop, takes several times as long."""
        pairs = [(job, rows) for job, rows in zip(jobs, found, strict=True) if job.is_picture]
        finished = self._detector.finish_batch(
            [job.picture for job, _ in pairs if job.picture is not None],
            [rows for _, rows in pairs],
            [job.confidence for job, _ in pairs],
            most=[job.max_detections for job, _ in pairs],
        )
        for (job, _), detections in zip(pairs, finished, strict=True):
            job.detections = None if isinstance(detections, Exception) else detections

    def _live(self) -> list[Job]:
        """Returns the prepared jobs whose callers still wait, and updates `_pictures` to match."""
        ready = [(job, job.picture) for job in self._jobs if job.picture is not None and not job.given_up]
        if len(self._pictures) != len(ready):
            self._pictures = PreparedBatch([picture for _, picture in ready])
        return [job for job, _ in ready]
