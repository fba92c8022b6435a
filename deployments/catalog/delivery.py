"""Delivery: a version on its way to every replica of a model, and then the requests to the version."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from azaion_engine.errors import InvalidParameterError
from deployments.catalog.applications import ModelApplications
from deployments.catalog.model_state import DELETED, ModelState
from deployments.catalog.records import Record, Records
from deployments.catalog.replicas import ModelReplicas, Told
from deployments.versions.version import Report, Trial, Version, Wanted

logger = logging.getLogger("ray.serve")

LOOK_S = 0.5
"""Seconds between two looks at the replicas while a version is on its way."""

SWITCH_S = 600.0
"""Seconds for every replica to switch; one that started meanwhile opens the version first."""

NOT_COMPARED = "a replica or the catalogue started meanwhile, and has no pictures to compare it on; deploy it once more"
"""Why a version is refused of which every replica was to tell how far it agrees."""


class Delivery:
    """What is on its way to the replicas of all models of one catalogue; used from one event loop.

    Attributes:
        under_way: The tasks that bring a version, by model.
    """

    def __init__(self, applications: ModelApplications, records: Records, replicas: ModelReplicas) -> None:
        """Begins nothing.

        Args:
            applications: Of the models.
            records: What each is to serve.
            replicas: Those of the models.
        """
        self._applications = applications
        self._records = records
        self._replicas = replicas
        self.under_way: dict[str, asyncio.Task[None]] = {}

    def record_of(self, model: str) -> Record:
        """Returns the record of a model."""
        record = self._records.get(self._applications.record_name_of(model))
        assert record is not None  # made when its application was deployed
        return record

    async def begin(self, model: str, version: Version, serving: Version, share: float, trial: Trial | None) -> None:
        """Begins to bring a version to the replicas of a model; where nothing serves, its application starts anew.

        Args:
            model: Name of the model.
            version: The version.
            serving: The one that serves meanwhile, with its kept copy.
            share: Part of the requests for a canary, 0…1; 0: it serves all.
            trial: Pictures on which both are compared.

        Raises:
            InvalidParameterError: It serves already; or nothing serves, and a canary or a least agreement is asked for.
        """
        state = await self._state_of(model)
        record = self.record_of(model)
        least = trial.least if trial is not None else 0.0
        if state.over:
            if share or least:  # else it would get every request, unseen
                raise InvalidParameterError(
                    f"nothing of {model!r} serves beside which a canary could run, or with which a version could agree "
                    f"({state.message or state.state}); deploy the file alone"
                )
            self.put_looked_at(model, Record.first(record.configured, version, record, state.failure))
            await self._deploy(model)
            return
        if version.id == record.wanted.serving.id:
            raise InvalidParameterError(f"the version {version.id} of {model!r} serves already")
        told = {"message": "", "comparison": "", "changes": ""}
        entry = record.entry_of(version).now("opening", share=share, least=least, **told)
        wanted = Wanted(serving=serving, candidate=version)
        self.put_looked_at(model, record.with_entry(entry, new=True, wanted=wanted))
        self.go_on(model, version, share, trial)

    def go_on(self, model: str, version: Version, share: float, trial: Trial | None) -> None:
        """Goes on to bring a version that the record has as on its way; the arguments are those of `begin`."""
        task = asyncio.get_running_loop().create_task(self._watch_or_fail(model, version, share, trial))
        self.under_way[model] = task
        tasks = self.under_way
        task.add_done_callback(lambda done: tasks.pop(model, None) if tasks.get(model) is done else None)

    def cancel(self, model: str) -> None:
        """Stops bringing a version to the replicas of a model, if one is under way; the record is as it was."""
        if (task := self.under_way.pop(model, None)) is not None:
            task.cancel()

    async def switch(self, model: str, version: Version) -> None:
        """Lets a version that every replica has open serve all requests, and returns when it does."""
        before = self.record_of(model).wanted.serving
        self.put(model, self.record_of(model).model_copy(update={"wanted": Wanted(serving=version)}))
        until = time.monotonic() + SWITCH_S
        while any(told.serving != version.id for told in await self.tell(model)):
            if time.monotonic() > until:
                logger.warning("a replica of %s does not switch to the version %s", model, version.id)
                break
            await asyncio.sleep(LOOK_S)
        self.settle(model, before)

    def settle(self, model: str, before: Version | None = None) -> None:
        """Writes into the history which version serves now.

        Args:
            model: Name of the model.
            before: The version that served until now, of which a copy may be kept; default: as the history has it.
        """
        record = self.record_of(model)
        serving = record.entry_of(record.wanted.serving)
        if serving.state == "serving":
            return
        for entry in record.history:
            if entry.state == "serving":
                version = before if before is not None and before.id == entry.version.id else entry.version
                record = record.with_entry(entry.now("retired", version=version))
        self.put(model, record.with_entry(serving.now("serving", share=0.0)))

    async def tell(self, model: str, trial: Trial | None = None) -> list[Told]:
        """Tells every replica of a model what it is to serve; returns what those that answer say."""
        return await self._replicas.follow(model, self.record_of(model).wanted, trial)

    async def keep(self, model: str) -> None:
        """Tells the replicas of a model again what they serve; a canary that one of them cannot serve is withdrawn."""
        told = await self.tell(model)
        canary = self.record_of(model).wanted.candidate
        if canary is not None and model not in self.under_way:
            await self._refuse_if_failed(model, canary, told)

    def put_looked_at(self, model: str, record: Record) -> None:
        """Keeps a record, and in it that what the configuration names now has been looked at."""
        configured = self._applications.changed.get(model, record.configured)
        self.put(model, record.model_copy(update={"configured": configured}))
        self._applications.changed.pop(model, None)

    def put(self, model: str, record: Record) -> None:
        """Keeps the record of a model."""
        self._records.put(self._applications.record_name_of(model), record)

    async def _deploy(self, model: str) -> None:
        """Starts the application of a model anew: nothing serves that could be kept."""
        await asyncio.to_thread(self._applications.deploy_one, model)

    async def _watch_or_fail(self, model: str, version: Version, share: float, trial: Trial | None) -> None:
        try:
            await self._watch(model, version, share, trial)
        except Exception as error:
            logger.exception("the version %s of %s is given up", version.id, model)
            await self._refuse(model, version, f"the catalogue failed: {error}")

    async def _watch(self, model: str, version: Version, share: float, trial: Trial | None) -> None:
        while True:
            told = await self.tell(model, trial)
            trial = None if told else trial  # may be many pictures
            if not told:
                state = await self._state_of(model)
                record = self.record_of(model)
                if state.failure and not share and not record.entry_of(version).least:
                    self.put(model, Record.first(record.configured, version, record, state.failure))
                    await self._deploy(model)
                    return
                # A canary must not get every request. What was deleted is maybe not configured any more.
                if state.over:
                    await self._refuse(model, version, f"nothing serves any more: {state.message or DELETED}")
                    return
            if await self._refuse_if_failed(model, version, told):
                return
            reports = [each.reports.get(version.id, Report(state="opening")) for each in told]
            if reports and all(report.state == "open" for report in reports):
                break
            await asyncio.sleep(LOOK_S)
        record = self.record_of(model)
        if record.entry_of(version).least and not all(report.comparison for report in reports):
            await self._refuse(model, version, NOT_COMPARED)
            return
        found = reports[0].model_dump(include={"agreement", "comparison", "changes"})
        if not share:
            self.put(model, record.with_entry(record.entry_of(version).told(**found)))
            await self.switch(model, version)
            return
        entry = record.entry_of(version).now("canary", share=share, **found)
        self.put(model, record.with_entry(entry, wanted=record.wanted.model_copy(update={"share": share})))
        await self.tell(model)

    async def _refuse_if_failed(self, model: str, version: Version, told: Sequence[Told]) -> bool:
        """Refuses a version that a replica cannot serve, with its reason; returns whether it did."""
        for each in told:
            report = each.reports.get(version.id)
            if report is not None and report.state == "failed":
                logger.warning("the version %s of %s is refused: %s", version.id, model, report.message)
                await self._refuse(model, version, report.message)
                return True
        return False

    async def _refuse(self, model: str, version: Version, message: str) -> None:
        record = self.record_of(model)
        entry = record.entry_of(version).now("failed", message=message)
        self.put(model, record.with_entry(entry, wanted=Wanted(serving=record.wanted.serving)))
        await self.tell(model)

    async def _state_of(self, model: str) -> ModelState:
        return (await asyncio.to_thread(self._applications.states))[model]
