"""Serve: what the catalogue asks of Ray Serve; RayServe: that of this cluster."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Protocol

from ray import serve
from ray.serve import Application
from ray.serve.schema import APIType


class Serve(Protocol):
    """What is asked of Ray Serve; tests put their own here."""

    def run(self, application: Application, name: str, route_prefix: str | None) -> None:
        """Deploys an application, without waiting until it runs."""
        ...

    def delete(self, name: str) -> None:
        """Deletes an application, without waiting until it has ended."""
        ...

    def applications(self) -> Mapping[str, Any]:
        """Returns Serve's overview of each application by name."""
        ...

    def declared(self) -> Set[str]:
        """Returns the names of the applications that a configuration names; a catalogue deploys none of these."""
        ...


class RayServe:
    """Ray Serve of this cluster."""

    def run(self, application: Application, name: str, route_prefix: str | None) -> None:
        """Deploys an application, without waiting until it runs."""
        # Serve applies the configuration's logging to the catalogue's own application only.
        logging_config = getattr(serve.get_replica_context()._deployment_config, "logging_config", None)
        target = serve.RunTarget(application, name, route_prefix, logging_config)
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)

    def delete(self, name: str) -> None:
        """Deletes an application, without waiting until it has ended."""
        serve.delete(name, _blocking=False)

    def applications(self) -> Mapping[str, Any]:
        """Returns Serve's overview of each application by name."""
        applications: Mapping[str, Any] = serve.status().applications
        return applications

    def declared(self) -> Set[str]:
        """Returns the names of the applications that a configuration names; a catalogue deploys none of these."""
        details = serve.context._get_global_client().get_serve_details()["applications"]
        return {name for name, each in details.items() if each["source"] == APIType.DECLARATIVE}
