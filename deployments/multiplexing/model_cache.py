"""ModelCache: the models that one replica has in memory; opens them on demand and closes the least recently used."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple, Protocol

from azaion_engine.errors import AzaionError
from deployments.errors import ModelUnavailableError, OverloadedError
from deployments.multiplexing.cache_report import CacheReport
from deployments.multiplexing.memory_bound import MemoryBound, NoBound
from deployments.service import DetectorService

logger = logging.getLogger("ray.serve")

AGAIN_S = 60.0
"""Seconds after which a model that could not be opened is tried again, if a request asks for it."""

MOST_RETRY_S = 300
"""Longest Retry-After of a request that did not wait until its model was open, seconds."""

_OUT_OF_MEMORY = re.compile(r"out of memory|could not be allocated|not enough .*memory", re.IGNORECASE)
"""In messages of CUDA, TensorRT and this library: what is opened would fit if there were less beside it."""

_LONGEST = 500


class Held(NamedTuple):
    """A model that a request holds.

    Attributes:
        service: Answers the request.
        waited_s: How long the request waited until the model was open, seconds; 0 if it was open.
    """

    service: DetectorService
    waited_s: float


class OnEvent(Protocol):
    """Is told what happens to the models, for metrics."""

    def __call__(self, model: str, event: Literal["loaded", "failed", "closed"], seconds: float) -> None:
        """Records an event; `seconds` is how long opening took, 0 for `closed`."""
        ...


class _Entry:
    """One model.

    Attributes:
        service: While it is open.
        users: Requests that hold it now.
        used: Number of the last request that got it; the lowest of all is the least recently used model.
        leaving: Whether it closes as soon as its requests are over.
        waiting: One future for each request that waits until it is open.
        task: Opens it; waits its turn first.
        began: When opening began, `time.monotonic`; None while it waits its turn.
        size: Bytes by which the memory in use grew when it was opened last.
    """

    def __init__(self) -> None:
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


class ModelCache:
    """The models of one replica; used from one event loop, which never waits for an engine.

    One model is opened at a time. Room for it is made first: the least recently used models without a request are
    closed, then those with one, when it is over. A request that gave up waiting does not stop the opening, so that the
    next one finds the model, and a plan is built once.
    """

    def __init__(
        self,
        models: Iterable[str],
        open_model: Callable[[str], DetectorService],
        most: int,
        most_waiting: int,
        memory: MemoryBound | None = None,
        on_event: OnEvent = lambda model, event, seconds: None,
        again_s: float = AGAIN_S,
    ) -> None:
        """Opens nothing yet.

        Args:
            models: The names of all models.
            open_model: Opens one, in a thread; an AzaionError that it raises is told to clients.
            most: Models open at a time, at most.
            most_waiting: Requests that wait for one model, at most.
            memory: Bounds the memory of all models together; one alone is opened even if it is beyond.
            on_event: Is told of every model that is opened or closed.
            again_s: Seconds after which a model that could not be opened is tried again.
        """
        self._entries = {name: _Entry() for name in models}
        self._open_model = open_model
        self._most = most
        self._most_waiting = most_waiting
        self._memory = memory or NoBound()
        self._on_event = on_event
        self._again_s = again_s
        self._turn = asyncio.Lock()
        self._requests = 0
        self._closed = False

    @asynccontextmanager
    async def hold(self, name: str, timeout_s: float) -> AsyncIterator[Held]:
        """Gives an open model, which stays open while it is held; opens it first if need be.

        Args:
            name: One of the models.
            timeout_s: Seconds to wait for it.

        Raises:
            ModelUnavailableError: It was not open in time, could not be opened, or the cache is closed.
            OverloadedError: Too many requests wait for it already.
        """
        entry = self._entries[name]
        arrived = time.monotonic()
        service = entry.service
        if service is not None and not entry.leaving:
            entry.users += 1
            waited_s = 0.0
        else:
            service = await self._wait(name, entry, timeout_s)
            waited_s = time.monotonic() - arrived
        self._requests += 1
        entry.used = self._requests
        try:
            yield Held(service, waited_s)
        finally:
            self._release(entry)

    @property
    def services(self) -> set[DetectorService]:
        """The services of the open models."""
        return {entry.service for entry in self._entries.values() if entry.service is not None}

    def versions(self) -> dict[str, str | None]:
        """Returns the version of each open model."""
        return {name: entry.service.version for name, entry in self._entries.items() if entry.service is not None}

    def reports(self) -> dict[str, CacheReport]:
        """Returns the state of every model."""
        return {name: self._report(entry) for name, entry in self._entries.items()}

    def check_health(self) -> None:
        """Raises an AzaionError if the engine of an open model can never run again."""
        for entry in self._entries.values():
            if entry.service is not None:
                entry.service.check_health()

    async def drop(self, name: str, keep: str | None = None) -> None:
        """Closes a model when the requests that hold it are over; later requests open it anew.

        Args:
            name: One of the models.
            keep: Version that stays open if it is the open one.
        """
        entry = self._entries[name]
        entry.failed_at = -math.inf
        async with self._turn:
            if entry.service is not None and (keep is None or entry.service.version != keep):
                await self._evict(name, entry)

    def close(self) -> None:
        """Closes all models; no request may hold one."""
        self._closed = True
        for entry in self._entries.values():
            if entry.task is not None:
                entry.task.cancel()
            if entry.service is not None:
                entry.service.retire()
                entry.service = None

    async def _wait(self, name: str, entry: _Entry, timeout_s: float) -> DetectorService:
        """Returns the model when it is open, counted as a user of it."""
        if self._closed:
            raise ModelUnavailableError("the replica is ending; try again")
        left_s = entry.failed_at + self._again_s - time.monotonic()
        if left_s > 0:
            raise self._failure(name, entry, left_s)
        if len(entry.waiting) >= self._most_waiting:
            raise OverloadedError(
                f"{len(entry.waiting)} requests wait until the model {name!r} is loaded; try again later",
                self._retry_after_s(entry),
            )
        if entry.task is None:
            entry.task = asyncio.get_running_loop().create_task(self._load(name, entry))
        granted: asyncio.Future[DetectorService] = asyncio.get_running_loop().create_future()
        entry.waiting.append(granted)
        try:
            await asyncio.wait([granted], timeout=timeout_s)
        except asyncio.CancelledError:
            if granted.done() and granted.exception() is None:
                self._release(entry)
            raise
        finally:
            if granted in entry.waiting:
                entry.waiting.remove(granted)
        if granted.done():
            return granted.result()
        raise ModelUnavailableError(self._told(name, entry, timeout_s), self._retry_after_s(entry))

    def _told(self, name: str, entry: _Entry, waited_s: float) -> str:
        """Returns what a request is told that has waited in vain."""
        now = time.monotonic()
        if entry.began is None:
            state = "waits until another model is loaded"
        else:
            state = f"is being loaded since {now - entry.began:.0f} s"
        last = "" if entry.load_s is None else f", which took {entry.load_s:.0f} s the last time"
        return (
            f"the model {name!r} is rarely used and {state}{last}; this request waited {waited_s:g} s, try again later"
        )

    def _retry_after_s(self, entry: _Entry) -> int:
        """Returns the seconds that opening will take still: as the last time; unknown, as long as until now."""
        gone_s = 0.0 if entry.began is None else time.monotonic() - entry.began
        left_s = max(1.0, gone_s) if entry.load_s is None else entry.load_s - gone_s
        return min(MOST_RETRY_S, max(1, math.ceil(left_s)))

    def _failure(self, name: str, entry: _Entry, left_s: float) -> ModelUnavailableError:
        return ModelUnavailableError(
            f"the model {name!r} could not be loaded: {entry.failure}", min(MOST_RETRY_S, max(1, math.ceil(left_s)))
        )

    def _release(self, entry: _Entry) -> None:
        entry.users -= 1
        if entry.users == 0:
            entry.idle.set()

    async def _load(self, name: str, entry: _Entry) -> None:
        try:
            async with self._turn:
                await self._open(name, entry)
        except Exception as error:  # a model must fail alone
            if not isinstance(error, AzaionError):
                logger.exception("the model %s cannot be loaded", name)
            logger.warning("the model %s cannot be loaded: %s", name, error)
            entry.failure, entry.failed_at = str(error)[:_LONGEST] or type(error).__name__, time.monotonic()
            self._on_event(name, "failed", 0.0)
            for granted in entry.waiting:
                if not granted.done():
                    granted.set_exception(self._failure(name, entry, self._again_s))
        finally:
            entry.task = entry.began = None
        entry.waiting.clear()

    async def _open(self, name: str, entry: _Entry) -> None:
        await self._make_room(name, entry.size)
        entry.began = time.monotonic()
        before = await asyncio.to_thread(self._memory.excess)
        service = await self._opened(name)
        entry.size = max(0, await asyncio.to_thread(self._memory.excess) - before)
        entry.load_s = time.monotonic() - entry.began
        entry.failure, entry.failed_at = "", -math.inf
        entry.service = service
        # Counted now: whoever is served next would otherwise find a model without requests, and close it.
        for granted in entry.waiting:
            if not granted.done():
                entry.users += 1
                granted.set_result(service)
        self._requests += 1
        entry.used = self._requests
        logger.info("the model %s is loaded after %.1f s", name, entry.load_s)
        self._on_event(name, "loaded", entry.load_s)
        while await asyncio.to_thread(self._memory.excess) > 0 and await self._evict_one(name, idle=True):
            pass

    async def _opened(self, name: str) -> DetectorService:
        while True:
            opening = asyncio.get_running_loop().run_in_executor(None, self._open_model, name)
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:  # the replica ends; the thread does not
                opening.add_done_callback(_retire_late)
                raise
            except Exception as error:  # of the GPU's driver, too, which has errors of its own
                if not _OUT_OF_MEMORY.search(str(error)) or not await self._evict_one(name):
                    raise
                logger.info("the model %s is loaded once more, as another one has made room: %s", name, error)

    async def _make_room(self, name: str, size: int) -> None:
        while len(self._open_models()) >= self._most or await asyncio.to_thread(self._memory.excess, size) > 0:
            if not await self._evict_one(name):
                return

    async def _evict_one(self, but: str, idle: bool = False) -> bool:
        """Closes the least recently used model; returns False if there is none.

        Args:
            but: Model that stays.
            idle: Whether only a model without requests may be closed.
        """
        others = [(name, each) for name, each in self._open_models() if name != but and not (idle and each.users)]
        if not others:
            return False
        await self._evict(*min(others, key=lambda other: (other[1].users > 0, other[1].used)))
        return True

    async def _evict(self, name: str, entry: _Entry) -> None:
        entry.leaving = True
        try:
            entry.idle.clear()
            if entry.users:
                await entry.idle.wait()  # its requests have timeouts
            service, entry.service = entry.service, None
        finally:
            entry.leaving = False
        if service is not None:
            await asyncio.to_thread(service.retire)
            logger.info("the model %s is closed", name)
            self._on_event(name, "closed", 0.0)

    def _open_models(self) -> list[tuple[str, _Entry]]:
        return [(name, entry) for name, entry in self._entries.items() if entry.service is not None]

    def _report(self, entry: _Entry) -> CacheReport:
        load_s = None if entry.load_s is None else round(entry.load_s, 3)
        if entry.service is not None:
            return CacheReport(
                state="loaded", load_s=load_s, version=entry.service.version, card=entry.service.describe()
            )
        if entry.task is not None:
            return CacheReport(state="loading", load_s=load_s)
        if entry.failure:
            return CacheReport(state="failed", message=entry.failure, load_s=load_s)
        return CacheReport(state="not_loaded", load_s=load_s)


def _retire_late(opening: asyncio.Future[DetectorService]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().retire()
