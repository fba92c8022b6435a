"""Versions: those of one model that are open in one replica, and which of them answers a request."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from azaion_engine.errors import AzaionError
from deployments.errors import VersionRefusedError
from deployments.service import DetectorService
from deployments.versions.changes import changes_of
from deployments.versions.version import Report, Trial, Version, Wanted

logger = logging.getLogger("ray.serve")

OPENED_AT_ONCE = 4
"""Versions that are opened at once: one that is no longer wanted may take its thread until it is open."""


class Opener(Protocol):
    """Opens versions in this process; its methods are called in threads, and raise an AzaionError to refuse one."""

    def open_beside(
        self, version: Version, beside: DetectorService, unwanted: threading.Event
    ) -> tuple[DetectorService, str]:
        """Opens a version beside the serving one.

        Args:
            version: It.
            beside: The service of the serving one.
            unwanted: Is set when the version is no longer wanted: opening it may then end with an AzaionError.

        Returns:
            Its service, and how far a built engine agrees with ONNX Runtime; empty if that is the engine.
        """
        ...

    def try_out(self, before: DetectorService, after: DetectorService, trial: Trial) -> str:
        """Returns how far the boxes of a version agree with those of the serving one."""
        ...


class _Entry:
    """A version that is open, or on its way.

    Attributes:
        service: None until it is open.
        report: How it went.
        ends: Ends it later; None while it is wanted.
        unwanted: Is set when it is no longer wanted before it is open.
    """

    def __init__(self, service: DetectorService | None = None) -> None:
        self.service = service
        self.report = Report(state="opening" if service is None else "open")
        self.ends: asyncio.TimerHandle | None = None
        self.unwanted = threading.Event()
        self.task: asyncio.Task[None] | None = None


class Versions:
    """The versions of one model in one replica; used from one event loop.

    A request takes its version once, when it begins, and keeps it: an answer is of one version, the one that it names.
    A version that is no longer wanted is closed after the longest time for which a request may still use it.
    """

    def __init__(self, version: Version, service: DetectorService, opener: Opener, grace_s: float) -> None:
        """Begins with one version that is open.

        Args:
            version: It.
            service: Its service; `close` closes it.
            opener: Opens others.
            grace_s: Seconds for which a request may use a version.
        """
        self._serving = version.id
        self._entries = {version.id: _Entry(service)}
        self._opener = opener
        self._grace_s = grace_s
        self._candidate: DetectorService | None = None
        self._share = 0.0
        self._due = 0.0
        self._closed = False
        self._threads = ThreadPoolExecutor(OPENED_AT_ONCE, thread_name_prefix="versions")  # others must not wait

    @property
    def current(self) -> DetectorService:
        """The service of the version that serves."""
        service = self._entries[self._serving].service
        assert service is not None
        return service

    @property
    def services(self) -> set[DetectorService]:
        """The services that a request may use."""
        return {entry.service for entry in self._entries.values() if entry.service is not None}

    def pick(self) -> DetectorService:
        """Returns the service for a new request: the candidate's for its share of them, evenly spread."""
        if self._candidate is None:
            return self.current
        self._due += self._share
        if self._due < 1:
            return self.current
        self._due -= 1
        return self._candidate

    def follow(self, wanted: Wanted, trial: Trial | None = None) -> dict[str, Report]:
        """Opens what is wanted and not open, and switches to what is open; does not wait for an engine.

        Args:
            wanted: What the replica is to serve.
            trial: How a version that was not wanted until now is compared with the serving one.

        Returns:
            Version → how far it is, for every wanted version and the serving one.
        """
        for version in wanted.versions.values():
            self._begin(version, trial)
        if self._entries[wanted.serving.id].report.state == "open" and wanted.serving.id != self._serving:
            logger.info("the version %s serves from now on, after %s", wanted.serving.id, self._serving)
            self._serving = wanted.serving.id
        candidate = None
        if wanted.candidate is not None and self._entries[wanted.candidate.id].report.state == "open":
            candidate = self._entries[wanted.candidate.id].service
        self._share = wanted.share
        self._candidate = candidate if wanted.share > 0 and candidate is not self.current else None
        for name in [name for name in self._entries if name not in wanted.versions and name != self._serving]:
            self._end_later(name)
        return {name: self._entries[name].report for name in {*wanted.versions, self._serving} if name in self._entries}

    def check_health(self) -> None:
        """Raises an AzaionError if the serving engine can never run again; a candidate's is only taken away."""
        if self._candidate is not None:
            try:
                self._candidate.check_health()
            except AzaionError as error:
                logger.warning("the candidate gets no more requests, its engine has failed: %s", error)
                for entry in self._entries.values():
                    if entry.service is self._candidate:
                        entry.report = Report(state="failed", message=str(error))
                self._candidate = None
        self.current.check_health()

    @property
    def serving(self) -> str:
        """Id of the version that serves."""
        return self._serving

    def close(self) -> None:
        """Closes all versions."""
        self._closed = True
        first = self.current
        self._threads.shutdown(wait=False, cancel_futures=True)
        for entry in self._entries.values():
            entry.unwanted.set()
            if entry.ends is not None:
                entry.ends.cancel()
            if entry.service is not None and entry.service is not first:
                entry.service.retire()
        first.close()

    def _begin(self, version: Version, trial: Trial | None) -> None:
        entry = self._entries.get(version.id)
        if entry is None:
            entry = self._entries[version.id] = _Entry()
            entry.task = asyncio.get_running_loop().create_task(self._open(version, entry, trial))
        elif entry.ends is not None:  # it is open still
            entry.ends.cancel()
            entry.ends = None
            assert entry.service is not None
            changes = changes_of(self.current.detector, entry.service.detector)  # another one may serve by now
            entry.report = Report(state="open", agreement=entry.report.agreement, changes=changes)
            try:
                entry.service.check_health()
            except AzaionError as error:  # as a canary, it is perhaps why it was withdrawn
                entry.report = Report.of_error(error)
                return
            if trial is not None:
                entry.report = Report(state="opening", agreement=entry.report.agreement)
                entry.task = asyncio.get_running_loop().create_task(self._open(version, entry, trial))

    async def _open(self, version: Version, entry: _Entry, trial: Trial | None) -> None:
        began = time.monotonic()
        service = entry.service
        try:
            agreement = entry.report.agreement
            if service is None:
                loop = asyncio.get_running_loop()
                opened = await loop.run_in_executor(self._threads, self._opened, version, entry)
                service, agreement = opened[0], opened[1]
            changes = changes_of(self.current.detector, service.detector)
            comparison = await self._compared(service, trial if not entry.unwanted.is_set() else None)
        except Exception as error:
            if not isinstance(error, AzaionError):
                logger.exception("the version %s cannot be opened", version.id)
            logger.warning("the version %s is refused: %s", version.id, error)
            entry.report = Report.of_error(error)
            await self._retire_if_new(entry, service)
            return
        if self._closed or self._entries.get(version.id) is not entry:  # no longer wanted
            await self._retire_if_new(entry, service)
            return
        logger.info("the version %s is open after %.1f s", version.id, time.monotonic() - began)
        entry.service = service
        entry.report = Report(state="open", agreement=agreement, comparison=comparison, changes=changes)

    def _opened(self, version: Version, entry: _Entry) -> tuple[DetectorService, str]:
        if entry.unwanted.is_set():  # while it waited for a thread
            raise VersionRefusedError("it is no longer wanted")
        return self._opener.open_beside(version, self.current, entry.unwanted)

    async def _compared(self, service: DetectorService, trial: Trial | None) -> str:
        if trial is None:
            return ""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._opener.try_out, self.current, service, trial)

    @staticmethod
    async def _retire_if_new(entry: _Entry, service: DetectorService | None) -> None:
        """Closes a service that no request has used; an older one has its grace."""
        if service is not None and entry.service is None:
            await asyncio.to_thread(service.retire)

    def _end_later(self, name: str) -> None:
        entry = self._entries[name]
        if entry.service is None:  # it failed, or is being opened and will be closed then
            entry.unwanted.set()
            del self._entries[name]
        elif entry.ends is None:
            entry.ends = asyncio.get_running_loop().call_later(self._grace_s, self._end, name)

    def _end(self, name: str) -> None:
        service = self._entries.pop(name).service
        if service is not None and not self._closed:
            logger.info("the version %s is closed", name)
            asyncio.get_running_loop().run_in_executor(None, service.retire)
