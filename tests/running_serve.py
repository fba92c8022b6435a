"""RunningServe: a real Serve, shared by test modules where possible."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.answer import Answer
from deployments.app import build_application
from deployments.settings import ServiceSettings
from tests.deployments.frontends import documented
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
    name: str

    def client(self, timeout: float = 60) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=timeout, event_hooks={"response": [documented.check]})

    def ask(self, value: int, **parameters: Any) -> Answer:
        """Sends one grey picture through the handle."""
        return self.handle.detect.remote(grey_picture(value), **parameters).result(timeout_s=60)


@dataclass
class RunningServe:
    """A real Serve with its proxy on 127.0.0.1; applications stay up for the other tests of a module."""

    url: str
    grpc_address: str
    applications: dict[str, Deployed] = field(default_factory=dict)
    _deployed: int = 0

    def deploy(
        self, opener: Callable[[ServiceSettings], Any] = open_stand_in, *, own: bool = False, **settings: Any
    ) -> Deployed:
        """Returns the application with these settings, deployed on first use; `own` gives one that is not shared."""
        known = f"{opener.__name__} {sorted(settings.items())}"
        if own or known not in self.applications:
            name = f"app-{self._deployed}"
            self._deployed += 1
            application = build_application(ServiceSettings(**settings), opener)
            handle = serve.run(application, name=name, route_prefix=f"/{name}")
            known = name if own else known
            self.applications[known] = Deployed(handle, f"{self.url}/{name}", name)
        return self.applications[known]

    def keep_only(self, *kept: Deployed) -> None:
        """Deletes every other application, and returns when none of them is left."""
        self.begin_to_delete(*kept)
        names = {app.name for app in kept}
        deadline = time.monotonic() + 60
        while left := serve.status().applications.keys() - names:
            assert time.monotonic() < deadline, f"not deleted within 60 s: {left}"
            time.sleep(0.1)

    def begin_to_delete(self, *kept: Deployed) -> None:
        """Deletes every other application, without waiting for their replicas to end."""
        for known, app in [*self.applications.items()]:
            if app not in kept:
                serve.delete(app.name, _blocking=False)
                del self.applications[known]


def replicas_of(app: Deployed, wanted: int, seconds: float = 60) -> dict[str, tuple[str, str]]:
    """Asks until `wanted` replicas have answered; returns pid → (CUDA_VISIBLE_DEVICES, node id)."""
    seen: dict[str, tuple[str, str]] = {}
    deadline = time.monotonic() + seconds
    while len(seen) < wanted and time.monotonic() < deadline:
        for response in [app.handle.where.remote() for _ in range(8)]:
            try:
                where = response.result(timeout_s=10)
            except (ray.exceptions.RayError, TimeoutError):
                continue  # a replica that is ending
            seen[where["pid"]] = (where["cuda_visible_devices"], where["node_id"])
    return seen


def start_ray(**options: Any) -> None:
    """Starts Ray on this machine, after ending a running one; retries once after a timeout of its raylet.

    On a busy machine, the raylet may not start within Ray's fixed 30 s, before any code of this project runs.
    """
    end_ray()
    options = {"include_dashboard": False, "log_to_driver": False, **options}
    try:
        ray.init(**options)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        ray.shutdown()
        ray.init(**options)


def end_ray() -> None:
    """Ends Serve and Ray, for tests that start their own or need none."""
    _kept.clear()
    if ray.is_initialized():
        serve.shutdown()
        ray.shutdown()


def start_serve() -> RunningServe:
    port, grpc_port = free_port(), free_port()
    methods = "deployments.frontends.open_inference.grpc_service.add_open_inference"
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": port},
        grpc_options={"port": grpc_port, "grpc_servicer_functions": [methods]},
    )
    return RunningServe(f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}")


_kept: dict[tuple[int, int], RunningServe] = {}
"""The running Serve, by its Ray's logical CPUs and GPUs; at most one, because a process has at most one Ray."""


def serve_on(num_cpus: int, num_gpus: int) -> RunningServe:
    """Returns the Serve that an earlier module left on such a Ray, else a new one: starting and ending is slow."""
    resources = num_cpus, num_gpus
    if resources not in _kept:
        start_ray(num_cpus=num_cpus, num_gpus=num_gpus)
        _kept[resources] = start_serve()
    return _kept[resources]
