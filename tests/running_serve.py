"""RunningServe: a real Serve, shared by test modules where possible."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import ray
from ray import serve
from ray.serve import Application
from ray.serve._private import client as serve_client
from ray.serve.handle import DeploymentHandle

from azaion_cli.throughput import EITHER_MODE, free_ports
from deployments.answer import Answer
from deployments.app import build_application
from deployments.settings import ServiceSettings
from tests.deployments.frontends import documented
from tests.stand_in import grey_picture, open_slow_stand_in, open_stand_in

POLL_S = 0.1
"""Seconds between two looks at a deployment that starts or ends. Serve's own is 1, which costs each deployment half a
second on average."""
DRAIN_POLL_S = 0.1
"""Seconds between two looks of a replica that ends at what it still answers; Serve's own are two."""
READY_TIMEOUT = "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"
"""Serve's own 15 s for a proxy's start are too few for a busy machine that reads Ray from a cold disk."""
Opener = Callable[[ServiceSettings], Any]
"""Opens the detector of a replica."""


def free_port() -> int:
    """Returns a port that Ray's processes do not take while they start."""
    return free_ports(1)[0]


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
    _lasting: list[Deployed] = field(default_factory=list)

    def plain(self) -> Deployed:
        """Returns a stand-in of 20 ms a batch, four pictures a request; it stays up for all modules."""
        return self._lasts(self.deploy(max_pictures=4))

    def slow(self) -> Deployed:
        """Returns a stand-in of a second a picture; it stays up for all modules."""
        return self._lasts(self.deploy(open_slow_stand_in, batch_size=1))

    def full(self) -> Deployed:
        """Returns a stand-in of a second a picture that one picture fills; it stays up for all modules."""
        return self._lasts(self.deploy(open_slow_stand_in, batch_size=1, max_queue=1))

    def late(self) -> Deployed:
        """Returns a stand-in that no picture leaves in time; it stays up for all modules."""
        return self._lasts(self.deploy(open_slow_stand_in, timeout_s=0.3))

    def _lasts(self, app: Deployed) -> Deployed:
        if app not in self._lasting:
            self._lasting.append(app)
        return app

    def deploy(self, opener: Opener = open_stand_in, *, own: bool = False, **settings: Any) -> Deployed:
        """Returns the application with these settings, deployed on first use; `own` gives one that is not shared."""
        if own:
            [app] = self._run([(opener, settings)])
            self.applications[app.name] = app
            return app
        self.deploy_together((opener, settings))
        return self.applications[_key(opener, settings)]

    def deploy_together(self, *wanted: tuple[Opener, dict[str, Any]]) -> None:
        """Deploys applications, each an opener and settings, side by side: one after the other takes twice as long.

        `deploy` with the same opener and settings returns them.
        """
        missing = [each for each in wanted if _key(*each) not in self.applications]
        for each, app in zip(missing, self._run(missing), strict=True):
            self.applications[_key(*each)] = app

    def _run(self, wanted: Sequence[tuple[Opener, dict[str, Any]]]) -> list[Deployed]:
        targets = []
        for opener, settings in wanted:
            name = f"app-{self._deployed}"
            self._deployed += 1
            application = drained_soon(build_application(ServiceSettings(**settings), opener))
            targets.append(serve.RunTarget(application, name=name, route_prefix=f"/{name}"))
        handles = serve.run_many(targets) if targets else []
        return [
            Deployed(handle, f"{self.url}/{target.name}", target.name)
            for target, handle in zip(targets, handles, strict=True)
        ]

    def keep_only(self, *kept: Deployed) -> None:
        """Deletes every other application, and returns when none of them is left."""
        self.begin_to_delete(*kept)
        names = {app.name for app in kept}
        deadline = time.monotonic() + 60
        while left := serve.status().applications.keys() - names:
            assert time.monotonic() < deadline, f"not deleted within 60 s: {left}"
            time.sleep(0.1)

    def end_module(self) -> None:
        """Deletes the applications that are this module's alone."""
        self.begin_to_delete(*self._lasting)

    def begin_to_delete(self, *kept: Deployed) -> None:
        """Deletes every other application, without waiting for their replicas to end."""
        for known, app in [*self.applications.items()]:
            if app not in kept:
                serve.delete(app.name, _blocking=False)
                del self.applications[known]


def _key(opener: Opener, settings: dict[str, Any]) -> str:
    return f"{opener.__name__} {sorted(settings.items())}"


def drained_soon(application: Application) -> Application:
    """Returns the application, whose replicas end within `DRAIN_POLL_S` of their last answer."""
    deployment = application._bound_deployment
    application._bound_deployment = deployment.options(graceful_shutdown_wait_loop_s=DRAIN_POLL_S)
    return application


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
    serve_client.CLIENT_POLLING_INTERVAL_S = POLL_S
    os.environ.setdefault(READY_TIMEOUT, EITHER_MODE[READY_TIMEOUT])
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


def serve_with_gpus() -> RunningServe:
    """Returns Serve on a Ray with four logical GPUs, which exports its metrics every second."""
    return serve_on(num_cpus=8, num_gpus=4)


def serve_on(num_cpus: int, num_gpus: int) -> RunningServe:
    """Returns the Serve that an earlier module left on such a Ray, else a new one: starting and ending is slow."""
    resources = num_cpus, num_gpus
    if resources not in _kept:
        # Ray's own ten seconds would be waited for by the tests of metrics, which need a GPU.
        every_second = {"metrics_report_interval_ms": 1000} if num_gpus else {}
        start_ray(num_cpus=num_cpus, num_gpus=num_gpus, _system_config=every_second)
        _kept[resources] = start_serve()
    return _kept[resources]
