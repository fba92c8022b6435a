"""A cluster whose GCS keeps its state in a Redis: what is lost when the GCS, or its node, dies and comes back."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from azaion_cli.throughput import serve_environment
from tests.chaos.service import MARK, ChaosService
from tests.running_serve import free_port

AWAY_S = 10.0
"""Seconds without a GCS, as if an operator, or what watches over the process, needed that long."""

_NODE = "AZAION_CHAOS_NODE"
"""Environment variable of Ray's processes: `head` or `worker`."""

_DEPLOY = """
import json, sys, ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False)
config = json.loads(sys.argv[2])
serve.start(proxy_location="EveryNode", http_options=config["http_options"])
_get_global_client().deploy_apps(ServeDeploySchema.model_validate(config), _blocking=True)
"""


class ClusterWithRedis(ChaosService):
    """A head node without replicas and a node with two, on this machine, begun by `ray start` with RAY_REDIS_ADDRESS.

    The head's HAProxy is the only one: Serve starts HAProxy with `-dR`, and two share no port then.
    `process` is the Redis. Ray's processes are no children of this one, and are told by `MARK`.
    """

    def start(self, config: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Starts the Redis, the nodes and the application."""
        self._folder = config.parent
        redis_port, self._gcs_port = free_port(), free_port()
        port = self.config["http_options"]["port"]
        serves, _ = serve_environment({"RAY_ADDRESS": "local"}, port, self.throughput, "127.0.0.1")
        self._environment = {
            **{name: value for name, value in {**environment, **serves}.items() if name != "RAY_ADDRESS"},
            "RAY_REDIS_ADDRESS": f"127.0.0.1:{redis_port}",
            "RAY_external_storage_namespace": "chaos",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "120",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # two nodes: `azaion serve` on loopback wants no other
            "RAY_TMPDIR": str(self._folder),  # and with it Ray's note of the running cluster
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        command = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        try:
            self.start_head()
            self._ray_start("worker", f"--address=127.0.0.1:{self._gcs_port}", "--num-cpus=2")
            deploy = [sys.executable, "-c", _DEPLOY, f"127.0.0.1:{self._gcs_port}", json.dumps(self.config)]
            self._run(deploy, self._environment)
        except BaseException:
            self.stop()
            raise
        return self.process

    def start_head(self) -> None:
        """Starts the head node as an operator does, or does again."""
        # Ray's note of the running cluster, which a head node on a machine of its own takes with it.
        (self._folder / "ray" / "ray_current_cluster").unlink(missing_ok=True)
        self._ray_start("head", "--head", f"--port={self._gcs_port}", "--include-dashboard=false", "--num-cpus=0")

    def kill_the_gcs(self) -> None:
        """Kills the GCS, and starts it again by the same command after `AWAY_S`."""
        [gcs] = [process for process in self._processes() if process.name() == "gcs_server"]
        command, environment = gcs.cmdline(), gcs.environ()
        gcs.kill()
        time.sleep(AWAY_S)
        with self.log.open("ab") as log:
            subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill_the_head_node(self) -> None:
        """Kills all processes of the head node, and starts it again after `AWAY_S`."""
        self._kill("head")
        time.sleep(AWAY_S)
        self.start_head()

    def stop(self, *_: object) -> tuple[int | None, list[str]]:
        """Kills it all."""
        self._kill("head", "worker")
        self.process.kill()
        return self.process.wait(10), []

    def _ray_start(self, node: str, *options: str) -> None:
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--node-ip-address=127.0.0.1"]
        self._run([*ray, "--disable-usage-stats", *options], {**self._environment, _NODE: node})

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        with self.log.open("ab") as log:
            ran = subprocess.run(command, env=environment, cwd=self._folder, stdout=log, stderr=log, timeout=180)
        assert ran.returncode == 0, self.log.read_text()[-4000:]

    def _kill(self, *nodes: str) -> None:
        killed = []
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                if process.environ().get(_NODE) in nodes:
                    process.kill()
                    killed.append(process)
        psutil.wait_procs(killed, 10)

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.pid != os.getpid() and process.environ().get(MARK) == str(self._folder):
                    found.append(process)
        return found


def has_redis() -> bool:
    """Returns whether there is a redis-server to start."""
    return shutil.which("redis-server") is not None


@contextmanager
def cluster_with_redis() -> Iterator[ClusterWithRedis]:
    """Starts a cluster in throughput mode, in a folder of its own; kills it at the end."""
    with tempfile.TemporaryDirectory(prefix="gcs-", ignore_cleanup_errors=True) as folder:
        cluster = ClusterWithRedis(Path(folder), throughput=True)
        try:
            cluster.wait_until_ready()
            yield cluster
        finally:
            cluster.stop()
