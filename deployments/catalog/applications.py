"""ModelApplications: the Serve applications of several models, which the catalogue deploys and asks for their state."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

from ray.serve import Application
from ray.serve.schema import ApplicationStatus

from azaion_engine.errors import AzaionError, ConfigurationError
from azaion_engine.version import __version__
from deployments.catalog.kept import read_version
from deployments.catalog.model_state import LONGEST, ModelState
from deployments.catalog.ray_serve import Serve
from deployments.catalog.records import Record, Records
from deployments.settings import ApplicationSettings, ServiceSettings
from deployments.versions.version import Version

logger = logging.getLogger("ray.serve")

PREFIX = "/models/"
"""Begins the route of each model's application, behind that of the catalogue."""

RARELY_USED = "_rarely_used"
"""Ends the name of the application that models share which are rarely used; no model can have that name."""

CATALOG = "CatalogDeployment"
"""Name of the deployment of a catalogue."""

FRESH_S = 0.5
"""Seconds for which an answer of Serve's controller about the applications is used again."""

_DEPLOYMENTS = frozenset(("DetectorDeployment", "MultiplexedDeployment"))
"""Deployments of the applications that a catalogue deploys."""


class BuildModel(Protocol):
    """Builds the application of one model."""

    def __call__(self, settings: ServiceSettings, *, version: str) -> Application:
        """Returns the application; Serve changes nothing if one of the same version runs already."""
        ...


class BuildRareModels(Protocol):
    """Builds the application of the models that are rarely used."""

    def __call__(self, *, version: str) -> Application:
        """Returns the application; Serve changes nothing if one of the same version runs already."""
        ...


class ModelApplications:
    """The applications of the models of one catalogue; safe from any thread.

    Attributes:
        settings: Those of every model.
        rare: The models that are loaded when a request needs them; they share one application.
        changed: Models that serve another version than the configuration names now, with that one, since `deploy`.
        taken: Models whose application's name another application of the cluster has; they are not served.
    """

    def __init__(
        self,
        settings: ApplicationSettings,
        build: BuildModel,
        catalog: str,
        route_prefix: str,
        serve: Serve,
        records: Records,
        build_rare: BuildRareModels | None = None,
    ) -> None:
        """Deploys nothing yet.

        Args:
            settings: Those of every model.
            build: Builds the application of a model.
            catalog: Name of the catalogue's application, which begins the names of the others.
            route_prefix: Route of the catalogue.
            serve: Ray Serve.
            records: What each model is to serve; made for those that have none.
            build_rare: Builds the application of the models that are rarely used; None if there are none.
        """
        assert settings.models is not None
        self.settings = {name: settings.of_model(name) for name in settings.models}
        self.rare = frozenset(settings.rare_models)
        self._build, self._build_rare = build, build_rare
        self._rare_settings = settings.of_rare_models() if self.rare else None
        self._catalog = catalog
        self._prefix = route_prefix.rstrip("/") + PREFIX
        self._serve = serve
        self._records = records
        self.changed: dict[str, Version] = {}
        self.taken: frozenset[str] = frozenset()
        self._refused: dict[str, str] = {}
        self._deploying: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._seen: Mapping[str, Any] = {}
        self._seen_at = -FRESH_S

    def application_of(self, model: str) -> str:
        """Returns the name of the application that answers for a model."""
        return f"{self._catalog}.{RARELY_USED if model in self.rare else model}"

    def record_name_of(self, model: str) -> str:
        """Returns the name of a model's record."""
        return f"{self._catalog}.{model}"

    def route_of(self, model: str) -> str:
        """Returns the route of a model."""
        return self._prefix + model

    def deploy(self) -> None:
        """Deploys the application of every model, and deletes those of models that are no longer listed.

        A model that cannot be deployed leaves the others; its state says why. What runs with the same settings already
        is left as it is, so this may be done again after a crash. Applications that this catalogue did not deploy are
        never touched, whatever their names.
        """
        running = self._serve.applications()
        own = self._own(running)
        # What is ending, as after a model was taken out and put back, is nobody's: Serve deploys over it.
        others = {name for name in running.keys() - own if running[name].status != ApplicationStatus.DELETING}
        self.taken = frozenset(name for name in self.settings if self.application_of(name) in others)
        listed = {self.application_of(name) for name in self.settings if name not in self.taken}
        self._records.put_own_applications(self._catalog, own | listed)
        for name, settings in self.settings.items():
            self._look_at(name, settings, self._state(name, running))
        for name in [name for name in self.settings if name not in self.rare] + sorted(self.rare)[:1]:
            self.deploy_one(name)
        for name in own - listed:
            self._serve.delete(name)
        self._forget_unlisted(own - listed, others)
        self._records.put_own_applications(self._catalog, listed)  # another may have the name of a deleted one now

    def delete_with_catalog(self) -> None:
        """Deletes the applications of all models if that of the catalogue is being deleted, or has no catalogue now."""
        running = self._serve.applications()
        catalog = running.get(self._catalog)  # while its last replica ends it is known, unless Serve itself is away
        if catalog is None:
            return
        # Without any deployments: Serve builds another configuration, or could not, and runs what it had until then.
        others = catalog.deployments and CATALOG not in catalog.deployments
        if catalog.status != ApplicationStatus.DELETING and not others:
            return
        for name in self._own(running):
            self._serve.delete(name)
        self._records.put_own_applications(self._catalog, frozenset())

    def check_not_taken(self, model: str) -> None:
        """Raises a ConfigurationError if another application of the cluster has the name of the model's."""
        if model in self.taken:
            which = "that application" if model in self.rare else f"the model {model!r} or that application"
            raise ConfigurationError(
                f"the application {self.application_of(model)} exists and is not of this catalogue: "
                f"give {which} another name"
            )

    def _forget_unlisted(self, deleted: Set[str], others: Set[str]) -> None:
        """Drops the records of models that are no longer listed: one of that name begins as it is configured then.

        Args:
            deleted: Applications that are deleted now. An earlier release has written down no models.
            others: Applications of others, whose models may have records of these names.
        """
        written = {self.record_name_of(name) for name in self._records.models(self._catalog)}
        for name in (written | deleted) - {self.record_name_of(name) for name in self.settings} - others:
            self._records.forget(name)
        self._records.put_models(self._catalog, self.settings.keys())

    def _own(self, running: Mapping[str, Any]) -> Set[str]:
        """Returns which of the running applications this catalogue has deployed."""
        written = self._records.own_applications(self._catalog)
        if written is None:  # a catalogue of an earlier release wrote down the records of its models only
            begin = f"{self._catalog}."
            mine = {name for name in running if name.startswith(begin) and self._records.get(name) is not None}
            written = frozenset(mine | {begin + RARELY_USED})
        # After a shutdown of Serve, an application of somebody else may have a name that is written down still.
        alike = {name for name in written & running.keys() if running[name].deployments.keys() <= _DEPLOYMENTS}
        return alike - self._serve.declared()

    def _look_at(self, name: str, settings: ServiceSettings, state: ModelState) -> None:
        """Makes the record of a model that has none, or whose configuration names another version now."""
        record_name = self.record_name_of(name)
        configured = Version(model=settings.model, sha256=settings.model_sha256)
        record = self._records.get(record_name)
        if record is not None and (record.configured == configured or name in self.taken):
            return
        if record is not None and state.answers:
            self.changed[name] = configured
        else:
            self._records.put(record_name, Record.first(configured, _version_of(settings), record, state.failure))

    def deploy_one(self, model: str) -> None:
        """Deploys the application of one model with the version that it is to serve, unless it runs already."""
        deployed = self.rare if model in self.rare else frozenset((model,))
        with self._lock:
            self._deploying |= deployed
        try:
            self.check_not_taken(model)
            if model in self.rare:
                self._deploy_rare()
            else:
                self._deploy_own(model)
            failure = None
        except Exception as error:
            if not isinstance(error, AzaionError):
                logger.exception("the model %s cannot be deployed", model)
            failure = str(error)[:LONGEST]
        with self._lock:  # the answer before is about what ran before
            self._seen_at = -FRESH_S
            self._deploying -= deployed
        for each in deployed:
            if failure is None:
                self._refused.pop(each, None)
            else:
                self._refused[each] = failure

    def _deploy_own(self, model: str) -> None:
        settings, name = self.settings[model], self.application_of(model)
        record = self._records.get(name)
        assert record is not None
        settings = record.wanted.serving.applied_to(settings)
        # Without the model: a version is switched to inside the replicas.
        version = _name_of([self.settings[model]], record.deployments)
        self._serve.run(self._build(settings, version=version), name, self.route_of(model))

    def _deploy_rare(self) -> None:
        """Deploys the application of all models that are rarely used.

        Serve gives one route to an application, and gRPC to those with a route; its HTTP answers nothing but 404.
        """
        assert self._build_rare is not None
        assert self._rare_settings is not None
        records = [self._records.get(self.record_name_of(name)) for name in sorted(self.rare)]
        told = [self._rare_settings, *(self.settings[name] for name in sorted(self.rare))]
        version = _name_of(told, sum(record.deployments for record in records if record is not None))
        name = self.application_of(next(iter(self.rare)))
        self._serve.run(self._build_rare(version=version), name, self._prefix + RARELY_USED)

    def states(self) -> dict[str, ModelState]:
        """Returns the state of every model; asks Serve's controller, but not more often than every `FRESH_S`."""
        with self._lock:
            if time.monotonic() - self._seen_at >= FRESH_S:
                self._seen = self._serve.applications()
                self._seen_at = time.monotonic()
            states = {name: self._state(name, self._seen) for name in self.settings}
            # Why the version before failed is no failure of the one that is being deployed.
            starting = (name for name in self._deploying if states[name].over)
            return states | dict.fromkeys(starting, ModelState("starting"))

    def _state(self, model: str, applications: Mapping[str, Any]) -> ModelState:
        if model in self._refused:
            return ModelState("failed", self._refused[model])
        return ModelState.of(applications.get(self.application_of(model)))


def _name_of(each: Sequence[ServiceSettings], deployments: int) -> str:
    """Returns a hash of these settings without their models: if it is another one, Serve redeploys."""
    told = " ".join(settings.model_dump_json(exclude={"model", "model_sha256"}) for settings in each)
    return hashlib.sha256(f"{__version__} {deployments} {told}".encode()).hexdigest()[:16]


def _version_of(settings: ServiceSettings) -> Version:
    """Returns the version that the model's file is now, with a copy of it; as configured if it is not on this machine.

    Where the file is another one than configured, too: the replicas refuse it.
    """
    try:
        return read_version(settings.model, settings.cache_dir, settings.model_sha256)
    except AzaionError as error:  # the replicas tell what is wrong if it is not on theirs
        logger.warning("no copy of the model %s is kept: %s", settings.model, error)
        return Version(model=settings.model, sha256=settings.model_sha256)
