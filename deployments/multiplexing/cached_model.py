"""CachedModel: the state of one model in a replica's cache, and what clients are told of it."""

from __future__ import annotations

import asyncio
import math
import time

from deployments.errors import ModelUnavailableError, reported
from deployments.multiplexing.cache_report import CacheReport
from deployments.service import DetectorService

MOST_RETRY_S = 300
"""Longest Retry-After of a request that did not wait until its model was open, seconds."""


class CachedModel:
    """One model; used from one event loop.

    Attributes:
        name: Of the model.
        service: While it is open.
        users: Requests that hold it now.
        used: Number of the last request that got it; the lowest of all is the least recently used model.
        leaving: Whether it closes as soon as its requests are over.
        idle: Set when the last request is over.
        waiting: One future for each request that waits until it is open.
        task: Opens it; waits its turn first.
        began: When opening began, `time.monotonic`; None while it waits its turn.
        load_s: How long opening took last, seconds; None if it was never open.
        size: Bytes by which the memory in use grew when it was opened last.
        failure: Why it could not be opened; empty if it could, or was never tried.
        failed_at: When that was, `time.monotonic`; -inf if it may be tried at once.
    """

    def __init__(self, name: str) -> None:
        """Describes a model that is not open."""
        self.name = name
        self.service: DetectorService | None = None
        self.users = 0
        self.used = 0
        self.leaving = False
        self.idle = asyncio.Event()
        self.waiting: list[asyncio.Future[DetectorService]] = []
        self.task: asyncio.Task[None] | None = None
        self.began: float | None = None
        self.load_s: float | None = None
        self.size = 0
        self.failure = ""
        self.failed_at = -math.inf

    def grant(self, service: DetectorService) -> None:
        """Gives the open model to every request that waits for it, and counts them as its users."""
        for granted in self.waiting:
            if not granted.done():
                self.users += 1
                granted.set_result(service)

    def release(self) -> None:
        """Ends one request that holds the model."""
        self.users -= 1
        if self.users == 0:
            self.idle.set()

    def fail(self, error: Exception, again_s: float) -> None:
        """Remembers why the model could not be opened, and refuses every request that waits for it.

        Args:
            error: Why.
            again_s: Seconds until it is tried again.
        """
        self.failure, self.failed_at = reported(error), time.monotonic()
        for granted in self.waiting:
            if not granted.done():
                granted.set_exception(self.failed_error(again_s))

    def failed_error(self, left_s: float) -> ModelUnavailableError:
        """Returns the refusal of a request for a model that could not be opened, and is tried again in `left_s`."""
        return ModelUnavailableError(
            f"the model {self.name!r} could not be loaded: {self.failure}", min(MOST_RETRY_S, max(1, math.ceil(left_s)))
        )

    def waited_error(self, waited_s: float) -> ModelUnavailableError:
        """Returns the refusal of a request that waited this long, and the model was not open."""
        if self.began is None:
            state = "waits until another model is loaded"
        else:
            state = f"has been loading for {time.monotonic() - self.began:.0f} s"
        last = "" if self.load_s is None else f", which took {self.load_s:.0f} s the last time"
        return ModelUnavailableError(
            f"the model {self.name!r} is rarely used and {state}{last}; "
            f"this request waited {waited_s:g} s, try again later",
            self.retry_after_s(),
        )

    def retry_after_s(self) -> int:
        """Returns the seconds until it should be open: as the last time; unknown, as long as it has taken until now."""
        gone_s = 0.0 if self.began is None else time.monotonic() - self.began
        left_s = max(1.0, gone_s) if self.load_s is None else self.load_s - gone_s
        return min(MOST_RETRY_S, max(1, math.ceil(left_s)))

    def report(self) -> CacheReport:
        """Returns its state for the catalogue."""
        load_s = None if self.load_s is None else round(self.load_s, 3)
        if self.service is not None:
            return CacheReport(
                state="loaded", load_s=load_s, version=self.service.version, card=self.service.describe()
            )
        if self.task is not None:
            return CacheReport(state="loading", load_s=load_s)
        if self.failure:
            return CacheReport(state="failed", message=self.failure, load_s=load_s)
        return CacheReport(state="not_loaded", load_s=load_s)
