from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.app import build_application
from deployments.detector_deployment import Answer
from deployments.service_settings import ServiceSettings
from tests.deployments import documented
from tests.stand_in import grey_picture, open_stand_in


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Deployed:
    """One application on the running Serve."""

    handle: DeploymentHandle
    url: str

    def client(self, timeout: float = 60) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=timeout, event_hooks={"response": [documented.check]})

    def ask(self, value: int, **parameters: Any) -> Answer:
        """Sends one grey picture through the handle."""
        return self.handle.detect.remote(grey_picture(value), **parameters).result(timeout_s=60)


@dataclass
class RunningServe:
    """A real Serve with its proxy on 127.0.0.1; applications stay up for the module's other tests."""

    url: str
    applications: dict[str, Deployed] = field(default_factory=dict)

    def deploy(
        self, opener: Callable[[ServiceSettings], Any] = open_stand_in, *, own: bool = False, **settings: Any
    ) -> Deployed:
        """Returns the application with these settings, deployed on first use; `own` asks for one to break."""
        known = f"{opener.__name__} {sorted(settings.items())}"
        if own or known not in self.applications:
            name = f"app-{len(self.applications)}"
            application = build_application(ServiceSettings(**settings), opener)
            handle = serve.run(application, name=name, route_prefix=f"/{name}")
            known = name if own else known
            self.applications[known] = Deployed(handle, f"{self.url}/{name}")
        return self.applications[known]


def replicas_of(app: Deployed, wanted: int, seconds: float = 60) -> dict[str, tuple[str, str]]:
    """Asks until `wanted` replicas have answered; returns pid → (CUDA_VISIBLE_DEVICES, node id)."""
    seen: dict[str, tuple[str, str]] = {}
    deadline = time.monotonic() + seconds
    while len(seen) < wanted and time.monotonic() < deadline:
        for response in [app.handle.where.remote() for _ in range(8)]:
            try:
                where = response.result(timeout_s=10)
            except (ray.exceptions.RayError, TimeoutError):
                continue  # a replica that is just dying
            seen[where["pid"]] = (where["cuda_visible_devices"], where["node_id"])
    return seen


def start_serve() -> RunningServe:
    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    return RunningServe(f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def running_serve() -> Iterator[RunningServe]:
    """One Ray with plenty of logical CPUs and no GPU, for all tests of a module."""
    ray.init(num_cpus=16, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield start_serve()
    serve.shutdown()
    ray.shutdown()
