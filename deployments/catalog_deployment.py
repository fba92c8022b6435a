"""CatalogDeployment: the Ray Serve deployment of a catalogue of several models; it runs no model itself."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve

from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from deployments.access.guard import Guard
from deployments.access.keys_file import watched_keys
from deployments.access.quotas import LoneQuotas
from deployments.catalog.applications import BuildModel, BuildRareModels, ModelApplications
from deployments.catalog.catalog import Catalog
from deployments.catalog.ray_serve import RayServe
from deployments.catalog.records import RayKeyValue, Records
from deployments.catalog.rollouts import Rollouts
from deployments.cluster.grpc_host import keep_internal_on_loopback
from deployments.frontends.catalog.application_hint import ApplicationHint
from deployments.frontends.catalog.asgi import create_catalog_api
from deployments.reception import Reception
from deployments.settings import ApplicationSettings
from deployments.versions.version import Trial
from deployments.watching.log import RequestLog


@serve.deployment
@serve.ingress(create_catalog_api)
class CatalogDeployment(ApplicationHint):
    """The only replica of a catalogue.

    Attributes:
        reception: What every request passes first.
        catalog: The models.
    """

    def __init__(self, settings: ApplicationSettings, build: BuildModel, build_rare: BuildRareModels) -> None:
        """Deploys the models, and does not wait until they are served.

        Args:
            settings: Those of every model.
            build: Builds the application of one model.
            build_rare: Builds that of the models that are rarely used.
        """
        keep_internal_on_loopback()
        guard = None
        if settings.access is not None:
            guard = Guard(watched_keys(settings.access.keys_file), settings.max_queue, LoneQuotas())
        name = serve.get_replica_context().app_name
        records = Records(RayKeyValue())
        applications = ModelApplications(settings, build, name, _route_prefix(name), RayServe(), records, build_rare)
        log = RequestLog()
        self.reception = Reception(
            settings.bodies_at_once, settings.timeout_s, DecodeMemory.of_machine(1).limit, guard, log.write
        )
        rollouts = Rollouts(applications, records, serve.get_app_handle)
        self.catalog = Catalog(applications, rollouts, serve.get_app_handle)
        applications.deploy()
        self._kept = asyncio.get_running_loop().create_task(self._look_after_versions())

    async def _look_after_versions(self) -> None:
        await self.catalog.rollouts.resume()
        await self.catalog.rollouts.keep_told()

    async def deploy(self, model: str, file: str, share: float = 0.0, trial: Trial | None = None) -> str:
        """Begins to bring a new version to a model, as `Rollouts.deploy`; returns its id."""
        self.catalog.settings_of(model)
        return (await self.catalog.rollouts.deploy(model, file, share, trial)).id

    async def promote(self, model: str) -> str:
        """Lets the canary of a model serve all requests; returns its id."""
        self.catalog.settings_of(model)
        return (await self.catalog.rollouts.promote(model)).id

    async def rollback(self, model: str) -> str:
        """Takes a version back, as `Rollouts.rollback`; returns the id of the one that serves, or will."""
        self.catalog.settings_of(model)
        return (await self.catalog.rollouts.rollback(model)).id

    async def describe(self) -> list[dict[str, Any]]:
        """Returns every model with its state and its versions, as `/models` does."""
        return await self.catalog.describe()

    def __del__(self) -> None:
        if hasattr(self, "reception"):
            self.reception.close()
        if hasattr(self, "catalog"):
            self.catalog.applications.delete_with_catalog()


def _route_prefix(application: str) -> str:
    """Returns the route of an application."""
    client = serve.context._get_global_client()
    prefix: str | None = client.get_serve_details()["applications"][application]["route_prefix"]
    return prefix or "/"
