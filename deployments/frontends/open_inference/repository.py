"""ModelRepository: the two models of a service by name, and the server's metadata."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from azaion_engine.errors import AzaionError, quote
from azaion_engine.version import __version__
from deployments.errors import UnknownModelError
from deployments.frontends.open_inference.model import VERSION, OpenModel
from deployments.frontends.open_inference.picture_model import PictureModel
from deployments.frontends.open_inference.raw_model import RawModel
from deployments.service import DetectorService
from deployments.settings import RAW

EXTENSIONS = ["binary_tensor_data", "model_configuration", "parameters", "statistics"]
"""Triton's extensions that are supported."""


class ModelRepository:
    """The models that one replica serves under the protocol."""

    def __init__(self, service: DetectorService) -> None:
        """Describes both models of a replica whose engine is open."""
        self._service = service
        self.models: dict[str, OpenModel] = {m.name: m for m in (PictureModel(service), RawModel(service))}

    def model(self, name: str, version: str = "") -> OpenModel:
        """Returns a model.

        Args:
            name: Its name.
            version: Its version; empty: the latest.

        Raises:
            UnknownModelError: No such model; the message lists the known ones.
        """
        if name not in self.models or version not in ("", VERSION):
            given = f"{quote(name)} version {quote(version)}" if version else quote(name)
            known = ", ".join(self.models)
            raise UnknownModelError(f"unknown model {given}; served here: {known}, each in version {VERSION}")
        return self.models[name]

    def ready(self) -> bool:
        """Returns whether the replica would answer now."""
        try:
            self._service.check_ready()
        except AzaionError:
            return False
        return True

    def server_metadata(self) -> dict[str, Any]:
        """Returns the protocol's `ServerMetadataResponse`."""
        return {"name": "azaion-engine", "version": __version__, "extensions": EXTENSIONS}

    def index(self) -> list[dict[str, str]]:
        """Returns Triton's list of models: name, version and state."""
        return [_entry(name) for name in self.models]

    def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Returns Triton's `ModelStatisticsResponse` of one model, or of all if no name is given.

        Raises:
            UnknownModelError: There is no such model.
        """
        models = [self.model(name, version)] if name else list(self.models.values())
        return {
            "model_stats": [{"name": m.name, "version": VERSION, **m.statistics.to_dict()} for m in models],
        }


class SharedRepository(ModelRepository):
    """What a replica that loads models on demand says of them all; it has no model that could be run."""

    def __init__(self, reasons: Mapping[str, str], loaded: Sequence[ModelRepository]) -> None:
        """Loads nothing.

        Args:
            reasons: Why each model that the request may be told of could not be loaded, empty if it was not tried; by
                their names, without those of their raw inputs.
            loaded: The repositories of those that are loaded.
        """
        self.models = {}
        self._reasons, self._loaded = reasons, loaded

    def ready(self) -> bool:
        """Returns True: a model that is not loaded is served, too."""
        return True

    def index(self) -> list[dict[str, str]]:
        """Returns Triton's list of models, loaded or not."""
        return [_entry(each, reason) for name, reason in self._reasons.items() for each in (name, name + RAW)]

    def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Returns Triton's `ModelStatisticsResponse` of all models that are loaded."""
        return {"model_stats": [entry for each in self._loaded for entry in each.statistics()["model_stats"]]}


class Repositories:
    """The repository of each service of a replica: made once, since it counts what is answered."""

    def __init__(self, served: Callable[[], Collection[DetectorService]]) -> None:
        """Has none yet.

        Args:
            served: Returns the services that are open; the repositories of others are dropped.
        """
        self._served = served
        self._known: dict[DetectorService, ModelRepository] = {}

    def of(self, service: DetectorService) -> ModelRepository:
        """Returns the repository of a service."""
        found = self._known.get(service)
        if found is None:
            served = self._served()
            self._known = {each: known for each, known in self._known.items() if each in served}
            found = self._known[service] = ModelRepository(service)
        return found


def _entry(name: str, reason: str = "") -> dict[str, str]:
    return {"name": name, "version": VERSION, "state": "UNAVAILABLE" if reason else "READY", "reason": reason}
