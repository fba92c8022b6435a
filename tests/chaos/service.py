"""ChaosService: a real `azaion serve` of its own, and its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil
import yaml

from azaion_engine.model.file import ModelFile
from tests.running_serve import free_port

ROOT = Path(__file__).parents[2]
SIDE = 320
"""Height and width of the network input: small, so that two cores answer many requests."""


MARK = "AZAION_CHAOS"
"""Environment variable that every process of one service has: its folder."""
ON_THE_CPU: dict[str, Any] = {"engine": "onnx", "cpu_replicas": 2, "threads": 1}
"""Settings of two replicas without a GPU."""


class ChaosService:
    """The service of one mode, with two replicas on the CPU unless `engine` is set, and a model file to replace.

    Attributes:
        throughput: Whether HAProxy listens, else Serve's own proxy.
        replicas: Number of replicas.
        url: Its address.
        model: Its model file.
        process: `azaion serve`.
    """

    def __init__(
        self,
        folder: Path,
        throughput: bool,
        deployments: Sequence[dict[str, Any]] = (),
        first_replicas: int | None = None,
        **settings: Any,
    ) -> None:
        """Starts it, with settings besides its own; `wait_until_ready` returns when it answers.

        Args:
            folder: For its files.
            throughput: Whether HAProxy listens, else Serve's own proxy.
            deployments: Serve's own options of the deployment, as in a Serve config.
            first_replicas: Replicas that it starts with, if `deployments` scales them.
            settings: Keys of `ServiceSettings`.
        """
        self.throughput = throughput
        self._deployments = list(deployments)
        settings = settings if "engine" in settings else {**ON_THE_CPU, **settings}
        self.replicas: int = first_replicas or settings.get("replicas_per_gpu", settings.get("cpu_replicas"))
        self.model = folder / "chaos.onnx"
        self.model.write_bytes(ModelFile.read("demo").data)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.config = self.config_with(port, settings)
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        # Priority: Ray's own default lets any other process of the machine decide how fast the service is.
        ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local", "RAY_worker_niceness": "0"}
        if settings.get("cpu_replicas", 0) > (os.cpu_count() or 1):
            # Each replica asks Ray for a core; more of them than the machine has, to see what their number does.
            ray["RAY_OVERRIDE_RESOURCES"] = json.dumps({"CPU": settings["cpu_replicas"]})
        modules = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**kept, **ray, "PYTHONPATH": modules, MARK: str(folder)}
        self._last: list[psutil.Process] = []
        self.log = folder / "log"
        self.process = self.start(path, environment)

    def start(self, config: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Starts `azaion serve` with a configuration file, and returns its process."""
        mode = "--throughput" if self.throughput else "--no-throughput"
        command = [sys.executable, "-m", "azaion_cli", "serve", str(config), mode]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, cwd=config.parent, env=environment, stdout=log, stderr=log)

    def config_with(self, port: int, settings: dict[str, Any]) -> dict[str, Any]:
        """Returns the configuration, as `azaion serve` and Ray Serve take it."""
        args = {"model": str(self.model), "height": SIDE, "width": SIDE, "timeout_s": 20, **settings}
        application = {"name": "chaos", "route_prefix": "/", "import_path": "deployments.app:build", "args": args}
        if self._deployments:
            application["deployments"] = self._deployments
        return {
            "proxy_location": "EveryNode",
            "http_options": {"host": "127.0.0.1", "port": port, "request_timeout_s": 30},
            "logging_config": {"encoding": "JSON", "enable_access_log": False},
            "applications": [application],
        }

    def wait_until_ready(self, seconds: float = 120) -> None:
        """Returns when all replicas run and `/readyz` is 200."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            if len(self.named("ray::ServeReplica")) == self.replicas and self.ready()[0] == 200:
                self._last = self._processes()
                return
            time.sleep(0.2)
        raise AssertionError(f"not ready within {seconds:g} s:\n{self.log.read_text()[-4000:]}")

    def ready(self) -> tuple[int, float]:
        """Asks `/readyz` once; returns its status, 0 if the connection is refused, and the seconds until then."""
        # Not httpx: making its client takes 41 ms of a core, hence 0.2 s and more beside starting replicas.
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=20)
        begun = time.monotonic()
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
        except (OSError, HTTPException):
            status = 0
        finally:
            connection.close()
        return status, time.monotonic() - begun

    def named(self, *starts: str) -> list[psutil.Process]:
        """Returns the service's living processes whose command line starts so, the oldest first."""
        found = []
        for process in self._processes():
            try:
                if " ".join(process.cmdline()).startswith(starts) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return sorted(found, key=lambda process: process.create_time())

    def haproxies(self) -> list[psutil.Process]:
        """Returns its HAProxy processes."""
        return [process for process in self._processes() if process.is_running() and process.name() == "haproxy"]

    def engine_hosts(self) -> list[psutil.Process]:
        """Returns the processes that hold an engine for several replicas, which may outlive the one that began them."""
        found = []
        for process in psutil.process_iter():
            try:
                command = " ".join(process.cmdline())
                if "shared.host_process" in command and process.environ().get(MARK) == str(self.model.parent):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def gcs_address(self) -> str:
        """Returns the address at which other processes join its Ray."""
        for process in self._processes():
            for argument in process.cmdline():
                if argument.startswith("--gcs-address="):
                    return argument.partition("=")[2]
        raise AssertionError("no process of Ray names the address")

    def environment(self) -> dict[str, str]:
        """Returns the environment for a process that joins its Ray, with its token and its loopback address."""
        ray = next(process for process in self._processes() if process.name() == "raylet")
        tokens = {key: value for key, value in ray.environ().items() if key.startswith(("RAY_AUTH", "RAY_ENABLE_"))}
        return {**os.environ, **tokens, "PYTHONPATH": str(ROOT)}

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60) -> tuple[int | None, list[str]]:
        """Ends it; returns the exit code, None if it does not end, and the names of the processes that it left."""
        self._last = self._processes()
        self.process.send_signal(number)
        return self.ended(seconds)

    def ended(self, seconds: float = 60) -> tuple[int | None, list[str]]:
        """Waits for its end; returns what `stop` does."""
        try:
            code: int | None = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        _, left = psutil.wait_procs(self._last, 5)
        names = [process.name() for process in left]
        for process in [*left, *([psutil.Process(self.process.pid)] if code is None else [])]:
            process.kill()
        return code, names

    def _processes(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


@contextmanager
def chaos_service(
    throughput: bool,
    deployments: Sequence[dict[str, Any]] = (),
    first_replicas: int | None = None,
    **settings: Any,
) -> Iterator[ChaosService]:
    """Starts a service in a folder of its own, arguments as for `ChaosService`; ends it if the caller has not."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        service = ChaosService(Path(folder), throughput, deployments, first_replicas, **settings)
        try:
            service.wait_until_ready()
            yield service
        finally:
            if service.process.poll() is None:
                service.stop()
