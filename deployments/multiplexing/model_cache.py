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
from deployments.multiplexing.cached_model import CachedModel
from deployments.multiplexing.memory_bound import MemoryBound, NoBound
from deployments.service import DetectorService

logger = logging.getLogger("ray.serve")

AGAIN_S = 60.0
"""Seconds after which a model that could not be opened is tried again, if a request asks for it."""

_OUT_OF_MEMORY = re.compile(r"out of memory|could not be allocated|not enough .*memory", re.IGNORECASE)
"""In messages of CUDA, TensorRT and this library: what is opened would fit if there were less beside it."""


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
        self._models = {name: CachedModel(name) for name in models}
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
        model = self._models[name]
        arrived = time.monotonic()
        service = model.service
        if service is not None and not model.leaving:
            model.users += 1
            waited_s = 0.0
        else:
            service = await self._wait(model, timeout_s)
            waited_s = time.monotonic() - arrived
        self._requests += 1
        model.used = self._requests
        try:
            yield Held(service, waited_s)
        finally:
            model.release()

    @property
    def services(self) -> set[DetectorService]:
        """The services of the open models."""
        return {model.service for model in self._models.values() if model.service is not None}

    def versions(self) -> dict[str, str | None]:
        """Returns the version of each open model."""
        return {name: model.service.version for name, model in self._models.items() if model.service is not None}

    def reports(self) -> dict[str, CacheReport]:
        """Returns the state of every model."""
        return {name: model.report() for name, model in self._models.items()}

    def check_health(self) -> None:
        """Raises an AzaionError if the engine of an open model can never run again."""
        for model in self._models.values():
            if model.service is not None:
                model.service.check_health()

    async def drop(self, name: str, keep: str | None = None) -> None:
        """Closes a model when the requests that hold it are over; later requests open it anew, also if that failed.

        Args:
            name: One of the models.
            keep: Version that stays open if it is the open one.
        """
        model = self._models[name]
        model.failed_at = -math.inf
        async with self._turn:
            model.failure, model.failed_at = "", -math.inf  # now, since one that was being opened may have failed
            if model.service is not None and (keep is None or model.service.version != keep):
                await self._evict(model)

    def close(self) -> None:
        """Closes all models; no request may hold one."""
        self._closed = True
        for model in self._models.values():
            if model.task is not None:
                model.task.cancel()
            if model.service is not None:
                model.service.retire()
                model.service = None

    async def _wait(self, model: CachedModel, timeout_s: float) -> DetectorService:
        """Returns the model when it is open, counted as a user of it."""
        if self._closed:
            raise ModelUnavailableError("the replica is ending; try again")
        left_s = model.failed_at + self._again_s - time.monotonic()
        if left_s > 0:
            raise model.failed_error(left_s)
        if len(model.waiting) >= self._most_waiting:
            raise OverloadedError(
                f"{len(model.waiting)} requests wait until the model {model.name!r} is loaded; try again later",
                model.retry_after_s(),
            )
        if model.task is None:
            model.task = asyncio.get_running_loop().create_task(self._load(model))
        granted: asyncio.Future[DetectorService] = asyncio.get_running_loop().create_future()
        model.waiting.append(granted)
        try:
            await asyncio.wait([granted], timeout=timeout_s)
        except asyncio.CancelledError:
            if granted.done() and granted.exception() is None:
                model.release()
            raise
        finally:
            if granted in model.waiting:
                model.waiting.remove(granted)
        if granted.done():
            return granted.result()
        raise model.waited_error(timeout_s)

    async def _load(self, model: CachedModel) -> None:
        try:
            async with self._turn:
                await self._open(model)
        except Exception as error:  # a model must fail alone
            if not isinstance(error, AzaionError):
                logger.exception("the model %s cannot be loaded", model.name)
            logger.warning("the model %s cannot be loaded: %s", model.name, error)
            model.fail(error, self._again_s)
            self._on_event(model.name, "failed", 0.0)
        finally:
            model.task = model.began = None
        model.waiting.clear()

    async def _open(self, model: CachedModel) -> None:
        await self._make_room(model)
        model.began = time.monotonic()
        before = await asyncio.to_thread(self._memory.excess)
        service = await self._opened(model)
        model.size = max(0, await asyncio.to_thread(self._memory.excess) - before)
        model.load_s = time.monotonic() - model.began
        model.failure, model.failed_at = "", -math.inf
        model.service = service
        # Users are counted now: the next model to be opened would else find this one without requests, and close it.
        model.grant(service)
        self._requests += 1
        model.used = self._requests
        logger.info("the model %s is loaded after %.1f s", model.name, model.load_s)
        self._on_event(model.name, "loaded", model.load_s)
        while await asyncio.to_thread(self._memory.excess) > 0 and await self._evict_one(model, idle=True):
            pass

    async def _opened(self, model: CachedModel) -> DetectorService:
        while True:
            opening = asyncio.get_running_loop().run_in_executor(None, self._open_model, model.name)
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:  # the replica ends; the thread does not
                opening.add_done_callback(_retire_late)
                raise
            except Exception as error:  # of the GPU's driver, too, which has errors of its own
                if not _OUT_OF_MEMORY.search(str(error)) or not await self._evict_one(model):
                    raise
                logger.info("the model %s is loaded once more, as another one has made room: %s", model.name, error)

    async def _make_room(self, model: CachedModel) -> None:
        """Closes other models until there is room for one, of the size that it had last."""
        while len(self.services) >= self._most or await asyncio.to_thread(self._memory.excess, model.size) > 0:
            if not await self._evict_one(model):
                return

    async def _evict_one(self, but: CachedModel, idle: bool = False) -> bool:
        """Closes the least recently used model; returns False if there is none.

        Args:
            but: Model that stays.
            idle: Whether only a model without requests may be closed.
        """
        others = [
            model
            for model in self._models.values()
            if model.service is not None and model is not but and not (idle and model.users)
        ]
        if not others:
            return False
        await self._evict(min(others, key=lambda other: (other.users > 0, other.used)))
        return True

    async def _evict(self, model: CachedModel) -> None:
        model.leaving = True
        try:
            model.idle.clear()
            if model.users:
                await model.idle.wait()  # its requests have timeouts
            service, model.service = model.service, None
        finally:
            model.leaving = False
        if service is not None:
            await asyncio.to_thread(service.retire)
            logger.info("the model %s is closed", model.name)
            self._on_event(model.name, "closed", 0.0)


def _retire_late(opening: asyncio.Future[DetectorService]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().retire()
