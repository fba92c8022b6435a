"""Rollouts: the orders to bring new versions of models to their replicas, and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from azaion_engine.errors import AzaionError, InvalidParameterError
from deployments.catalog.applications import ModelApplications
from deployments.catalog.delivery import Delivery
from deployments.catalog.kept import keep, read_version
from deployments.catalog.records import Record, Records
from deployments.catalog.replicas import ModelReplicas
from deployments.errors import reported
from deployments.versions.version import Trial, Version, Wanted

logger = logging.getLogger("ray.serve")

KEEP_S = 10.0
"""Seconds between two times that every replica is told what it is to serve: one that started meanwhile may not know."""


class Rollouts:
    """The versions of all models of one catalogue; used from one event loop."""

    def __init__(self, applications: ModelApplications, records: Records, handle_of: Callable[[str], Any]) -> None:
        """Begins nothing.

        Args:
            applications: Of the models.
            records: What each is to serve.
            handle_of: Returns Serve's handle of an application by its name.
        """
        self._applications = applications
        self._replicas = ModelReplicas(applications, handle_of)
        self._delivery = Delivery(applications, records, self._replicas)
        self._ordered: set[str] = set()

    def record_of(self, model: str) -> Record:
        """Returns the record of a model."""
        return self._delivery.record_of(model)

    async def deploy(self, model: str, file: str, share: float = 0.0, trial: Trial | None = None) -> Version:
        """Begins to bring a new version to the replicas of a model; returns when it is on its way.

        Every replica opens it beside the serving one. When all have, requests get it, or as a canary some of them; if
        one cannot, the serving version stays, and the history says why.

        Args:
            model: Name of the model.
            file: Path of the ONNX file, on the machines of the replicas.
            share: Part of the requests for a canary, 0…1; 0: it serves all.
            trial: Pictures on which it is compared with the serving version.

        Raises:
            InvalidParameterError: It serves already, or another one is on its way, or the share or the least agreement
                is out of range; or the model is rarely used, and a canary or a comparison is asked for, which need two
                versions in memory.
            ConfigurationError: The file cannot be read, or another application has the name of the model's.
            ModelError: It is no ONNX file.
        """
        self._applications.check_not_taken(model)
        if not 0 <= share < 1:
            raise InvalidParameterError(f"share: expected 0 to below 1, given {share}")
        if trial is not None and not 0 <= trial.least <= 1:  # no agreement is below NaN
            raise InvalidParameterError(f"least: expected 0 to 1, given {trial.least}")
        if model in self._applications.rare and (share or trial is not None):
            raise InvalidParameterError(
                f"the model {model!r} is rarely used: no two versions of it are in memory, which a canary and a "
                "comparison need; deploy the file alone"
            )
        with self._order(model):
            cache_dir = self._applications.settings[model].cache_dir
            version = await asyncio.to_thread(read_version, file, cache_dir)
            serving = await asyncio.to_thread(keep, self.record_of(model).wanted.serving, cache_dir)
            await self._delivery.begin(model, version, serving, share, trial)
        return version

    async def promote(self, model: str) -> Version:
        """Lets the canary of a model serve all requests.

        Raises:
            InvalidParameterError: There is no canary.
            ConfigurationError: Another application has the name of the model's.
        """
        self._applications.check_not_taken(model)
        record = self.record_of(model)
        version = record.wanted.candidate
        if version is None or record.entry_of(version).state != "canary":
            raise InvalidParameterError(f"the model {model!r} has no canary")
        with self._switching(model):
            await self._delivery.switch(model, version)
        return version

    async def rollback(self, model: str) -> Version:
        """Withdraws the version that is on its way or a canary; else begins to bring back the one that served before.

        Returns:
            The version that serves, or will.

        Raises:
            InvalidParameterError: There is none before it.
            ConfigurationError: Another application has the name of the model's.
        """
        self._applications.check_not_taken(model)
        record = self.record_of(model)
        if record.wanted.candidate is not None:
            self._delivery.cancel(model)
            entry = record.entry_of(record.wanted.candidate).now("rolled_back")
            self._put_withdrawn(
                model, record.with_entry(entry, wanted=Wanted(serving=record.wanted.serving)), entry.version
            )
            await self._delivery.tell(model)
            return record.wanted.serving
        if record.before is None:
            raise InvalidParameterError(f"the model {model!r} has no version before the one that serves")
        with self._order(model):
            await self._delivery.begin(model, record.before, record.wanted.serving, 0.0, None)
        return record.before

    async def resume(self) -> None:
        """Goes on with what was on its way when an earlier catalogue ended, without pictures to compare.

        Brings the versions that the configuration names since then.
        """
        for model in self._applications.settings:
            if model in self._delivery.under_way or model in self._applications.taken:
                continue
            self._delivery.settle(model)
            record = self.record_of(model)
            candidate = record.wanted.candidate
            if candidate is None:
                continue
            entry = record.entry_of(candidate)
            if entry.share and model in self._applications.rare:  # it was not, and no two versions are in memory now
                wanted = Wanted(serving=record.wanted.serving)
                self._delivery.put(model, record.with_entry(entry.now("rolled_back"), wanted=wanted))
            elif entry.state == "opening":
                self._delivery.go_on(model, candidate, entry.share, None)
        await self._bring_configured()

    async def keep_told(self) -> None:
        """Tells every replica again and again what it is to serve; never returns.

        A version that the configuration names, and that had to wait, is brought when it can be.
        """
        while True:
            await asyncio.sleep(KEEP_S)
            try:
                states = await asyncio.to_thread(self._applications.states)
                answering = {model for model, state in states.items() if state.answers}
                quiet = answering - self._delivery.under_way.keys()
                rare = quiet & self._applications.rare
                await asyncio.gather(self._keep_rare(rare), *(self._delivery.keep(model) for model in quiet - rare))
                await self._bring_configured()
            except Exception:  # e.g. Serve's controller is being replaced
                logger.exception("the replicas are not told what to serve; once more in %g s", KEEP_S)

    async def _bring_configured(self) -> None:
        """Brings the versions that the configuration names now, or says in the history why a file is refused.

        Where another version is on its way or a canary, that one is decided first: until then the record has the
        configuration as it was, so an end of the catalogue loses nothing.
        """
        for model, configured in list(self._applications.changed.items()):
            # An order may have come while another model's file was read.
            if self._applications.changed.get(model) is not configured or self._busy(model):
                continue
            try:
                with self._order(model):
                    await self._bring_file_of(model, configured)
            except Exception:  # e.g. Serve's controller is being replaced
                logger.exception("the configured version of %s is not brought; once more in %g s", model, KEEP_S)

    async def _bring_file_of(self, model: str, configured: Version) -> None:
        cache_dir = self._applications.settings[model].cache_dir
        try:
            version = await asyncio.to_thread(read_version, configured.model, cache_dir, configured.sha256)
        except AzaionError as error:
            record = self.record_of(model)
            logger.warning("the configured version of %s is refused: %s", model, error)
            if configured.id != record.wanted.serving.id:
                told = {"message": reported(error), "agreement": "", "comparison": "", "changes": ""}
                record = record.with_entry(record.entry_of(configured).now("failed", share=0.0, **told), new=True)
            self._delivery.put_looked_at(model, record)
            return
        record = self.record_of(model)
        before = record.wanted.serving
        if version.id == before.id:  # the same file at another path; the engine is named after the copy
            moved = version.model_copy(update={"kept": before.kept or version.kept})
            self._delivery.put_looked_at(model, record.model_copy(update={"wanted": Wanted(serving=moved)}))
            return
        await self._delivery.begin(model, version, await asyncio.to_thread(keep, before, cache_dir), 0.0, None)

    async def _keep_rare(self, models: Collection[str]) -> None:
        await self._replicas.keep({model: self.record_of(model).wanted.serving.id for model in models})

    @contextmanager
    def _order(self, model: str) -> Iterator[None]:
        """Keeps other orders away until this one is written down: its version and the serving one are read before that.

        Raises:
            InvalidParameterError: Another one is on its way.
        """
        if busy := self._busy(model):
            raise InvalidParameterError(busy)
        with self._switching(model):
            yield

    @contextmanager
    def _switching(self, model: str) -> Iterator[None]:
        """Keeps other orders out until the end of the block."""
        self._ordered.add(model)
        try:
            yield
        finally:
            self._ordered.discard(model)

    def _busy(self, model: str) -> str:
        """Returns why no version can be brought now; empty if one can."""
        candidate = self.record_of(model).wanted.candidate
        if candidate is not None:
            return (
                f"the version {candidate.id} of {model!r} is on its way or a canary: promote it or roll it back first"
            )
        if model in self._delivery.under_way or model in self._ordered:
            return f"the replicas of {model!r} are switching to another version; try again"
        return ""

    def _put_withdrawn(self, model: str, record: Record, withdrawn: Version) -> None:
        """Keeps a record without a withdrawn version, which does not come back if the configuration names it by now."""
        configured = self._applications.changed.get(model)
        alike = configured is not None and configured.sha256 is None and configured.model == withdrawn.model
        if configured is not None and (alike or configured.id == withdrawn.id):
            logger.warning("the configured version of %s is withdrawn: %s", model, configured.model)
            self._delivery.put_looked_at(model, record)
        else:
            self._delivery.put(model, record)
