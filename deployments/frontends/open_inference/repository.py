"""ModelRepository: the two models of a replica by name, and the server's metadata."""

from __future__ import annotations

from typing import Any

from azaion_engine.errors import AzaionError, quote
from azaion_engine.version import __version__
from deployments.errors import UnknownModelError
from deployments.frontends.open_inference.model import VERSION, OpenModel
from deployments.frontends.open_inference.picture_model import PictureModel
from deployments.frontends.open_inference.raw_model import RawModel
from deployments.service import DetectorService

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
        return [{"name": name, "version": VERSION, "state": "READY", "reason": ""} for name in self.models]

    def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Returns Triton's `ModelStatisticsResponse` of one model, or of all if no name is given.

        Raises:
            UnknownModelError: There is no such model.
        """
        models = [self.model(name, version)] if name else list(self.models.values())
        return {
            "model_stats": [{"name": m.name, "version": VERSION, **m.statistics.to_dict()} for m in models],
        }
