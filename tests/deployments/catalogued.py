"""A catalogue without Ray: a stand-in for Serve, and models whose replicas are in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
from ray import serve
from ray.serve.schema import ApplicationStatus, DeploymentStatusTrigger

from deployments.catalog.applications import RARELY_USED, ModelApplications
from deployments.catalog.catalog import Catalog
from deployments.catalog.records import Records
from deployments.catalog.rollouts import Rollouts
from deployments.frontends.asgi import create_api
from deployments.frontends.catalog.asgi import create_catalog_api
from deployments.frontends.forwarded import HttpAnswer, HttpCall, answer_call
from deployments.settings import ApplicationSettings, ServiceSettings
from deployments.versions.version import Report, Trial, Wanted
from tests.deployments.in_process import Replica, replica


class DictStore:
    """Text by name, in this process."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self.texts.get(name)

    def put(self, name: str, text: str) -> None:
        self.texts[name] = text


class StandInServe:
    """Serve's applications: each runs at once, unless it is told otherwise."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[str, str | None]] = {}
        """Application → what was built, and its route."""
        self.status: dict[str, tuple[ApplicationStatus, str]] = {}
        self.replicas: dict[str, str] = {}
        """Application → the state of its replica, if that is not as the application's."""
        self.unstartable: set[str] = set()
        """Applications whose replicas fail to start, again and again."""
        self.runs: list[str] = []
        self.from_configuration: set[str] = set()
        self.of_others: dict[str, str] = {}
        """Application → its deployment, if that is no detector; empty: Serve knows of none."""

    def run(self, application: Any, name: str, route_prefix: str | None) -> None:
        self.runs.append(name)
        self.running[name] = (application, route_prefix)

    def delete(self, name: str) -> None:
        del self.running[name]

    def applications(self) -> Mapping[str, Any]:
        return {name: self._overview(name) for name in self.running}

    def declared(self) -> set[str]:
        return self.from_configuration

    def _overview(self, name: str) -> Any:
        status, message = self.status.get(name, (ApplicationStatus.RUNNING, ""))
        kind = self.of_others.get(name, "DetectorDeployment")
        state = "RUNNING" if status is ApplicationStatus.RUNNING else "STARTING"
        failed, well = DeploymentStatusTrigger.REPLICA_STARTUP_FAILED, DeploymentStatusTrigger.UNSPECIFIED
        deployment = SimpleNamespace(
            message=message,
            replica_states={self.replicas.get(name, state): 1},
            status_trigger=failed if name in self.unstartable else well,
        )
        deployments = {kind: deployment} if kind else {}
        return SimpleNamespace(status=status, message=message, deployments=deployments)


class StandInReplica:
    """What a catalogue sees of a replica: it opens every version at once, unless it fails."""

    def __init__(self) -> None:
        self.serving = ""
        self.told: list[tuple[Wanted, Trial | None]] = []
        self.fails = ""
        self.opening: set[str] = set()

    def follow(self, wanted: Wanted, trial: Trial | None) -> tuple[str, dict[str, Report]]:
        self.told.append((wanted, trial))
        self.serving = wanted.serving.id
        compared = "99% agree" if any(trial is not None for _, trial in self.told) else ""
        reports = {version: Report(state="open", comparison=compared) for version in wanted.versions}
        if wanted.candidate is not None and self.fails:
            reports[wanted.candidate.id] = Report(state="failed", message=self.fails)
        elif wanted.candidate is not None and wanted.candidate.id in self.opening:
            reports[wanted.candidate.id] = Report(state="opening")
        return self.serving, reports


class _Method:
    def __init__(self, function: Any) -> None:
        self.remote = function


class StandInHandle:
    """Serve's handle of one model's application."""

    def __init__(self, replicas: list[StandInReplica], inner: Replica | None) -> None:
        self.replicas, self._inner = replicas, inner
        self.answer, self.describe = _Method(self._answer), _Method(self._describe)
        self.fails: Exception | None = None
        self.reports: list[Any] = []
        self.kept: list[dict[str, str]] = []

    async def _reports(self, return_exceptions: bool) -> list[Any]:
        return self.reports

    def options(self, **options: Any) -> StandInHandle:
        return self

    def broadcast(self, method: str, *arguments: Any) -> Any:
        if method == "reports":
            return SimpleNamespace(results_async=self._reports)
        if method == "keep":
            self.kept += arguments
            return SimpleNamespace(results_async=self._reports)
        assert method == "follow"

        async def results_async(return_exceptions: bool) -> list[Any]:
            return [replica.follow(*arguments[-2:]) for replica in self.replicas]

        return SimpleNamespace(results_async=results_async)

    async def _answer(self, call: HttpCall) -> HttpAnswer:
        if self.fails is not None:
            raise self.fails
        return await asyncio.create_task(answer_call(create_api(), call))

    async def _describe(self) -> dict[str, Any]:
        assert self._inner is not None
        return self._inner.service.describe()


class CataloguedReplica(Replica):
    """A catalogue and, behind every model's name, the same replica, in one process."""

    def __init__(self, inner: Replica, settings: ApplicationSettings, store: DictStore | None = None) -> None:
        super().__init__(inner.service)
        self.serve, self.store = StandInServe(), store or DictStore()
        self.replicas = {name: [StandInReplica(), StandInReplica()] for name in settings.models or ()}
        self.handles = {name: StandInHandle(replicas, inner) for name, replicas in self.replicas.items()}
        self.handles[RARELY_USED] = StandInHandle([StandInReplica()], inner)
        self.begin(settings)

    def begin(self, settings: ApplicationSettings) -> None:
        """Begins a catalogue over what the one before has left."""
        records = Records(self.store)
        self.applications = ModelApplications(settings, _built, "several", "/", self.serve, records, _built_rare)
        self.rollouts = Rollouts(self.applications, records, self.handle_of)
        self.catalog = Catalog(self.applications, self.rollouts, self.handle_of)
        self.applications.deploy()

    def handle_of(self, application: str) -> StandInHandle:
        return self.handles[application.removeprefix("several.")]


def _built(settings: ServiceSettings, *, version: str) -> Any:
    return f"{settings.name} {settings.model} {version}"


def _built_rare(*, version: str) -> Any:
    return f"rarely used {version}"


@contextmanager
def catalogued(settings: ApplicationSettings) -> Iterator[CataloguedReplica]:
    """Runs a catalogue and one stand-in model in this process."""
    access = {} if settings.access is None else {"access": settings.access}
    with replica(**access) as inner:
        held = CataloguedReplica(inner, settings)
        serve.get_replica_context().servable_object = held
        yield held


def catalog_client() -> httpx.AsyncClient:
    """Returns a client of the catalogue; use it inside `catalogued` and on one event loop."""
    transport = httpx.ASGITransport(create_catalog_api(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://in.process", timeout=60)
