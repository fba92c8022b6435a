"""`python -m tests.chaos.cluster`: replicas follow the load, 1 → 4 → 1, over Ray nodes that join and die.

Every node is a raylet of this machine with logical GPUs; a stand-in engine of known speed takes the model's place.
The clients are azaion_client's, each with a picture of its own, and look at every answer.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import ray
from ray import serve
from ray.cluster_utils import Cluster

from azaion_cli.throughput import EITHER_MODE
from azaion_client import Client, ClientError
from benchmarks.records.machine import machine
from deployments.app import build_application
from deployments.settings import ServiceSettings
from tests.deployments.cluster.ray_clusters import add_node, ray_cluster
from tests.running_serve import free_port
from tests.stand_in import grey_picture, open_steady_stand_in

NAME, DEPLOYMENT = "cluster", "DetectorDeployment"
MOST = 4
"""Replicas at most, each with a logical GPU."""
CLIENTS = 12
SCALING = {
    "min_replicas": 1,
    "max_replicas": MOST,
    "target_ongoing_requests": 2,
    # Serve's own are half a minute up and ten minutes down, which a test has no time for.
    "upscale_delay_s": 1.0,
    "downscale_delay_s": 4.0,
    "metrics_interval_s": 0.5,
    "look_back_period_s": 2.0,
}


@dataclass
class Load:
    """Clients that ask until they are told to end, each as soon as it has its answer.

    Attributes:
        url: Address of the service.
        right: Number of right answers.
        wrong: Number of answers with another client's box.
        lost: What azaion_client raised.
        slowest_s: Longest wait for an answer, seconds.
    """

    url: str
    right: int = 0
    wrong: int = 0
    lost: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, clients: int) -> None:
        """Begins with a number of clients."""
        self._ended.clear()
        self._threads = [threading.Thread(target=self._ask, args=(10 + 5 * i,), daemon=True) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Lets every client have its last answer."""
        self._ended.set()
        for thread in self._threads:
            thread.join(70)
            assert not thread.is_alive(), "a client waits for its answer still"

    def _ask(self, grey: int) -> None:
        picture = grey_picture(grey)
        with Client(self.url, timeout_s=60) as client:
            while not self._ended.is_set():
                begun, lost, right = time.monotonic(), "", False
                try:
                    right = [box.class_id for box in client.detect(picture, confidence=0.5).boxes] == [grey]
                except ClientError as error:
                    lost = f"{type(error).__name__}: {error}"
                with self._counting:
                    self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
                    if lost:
                        self.lost.append(lost)
                    elif right:
                        self.right += 1
                    else:
                        self.wrong += 1


@dataclass
class Step:
    """What happened in one step.

    Attributes:
        name: What was done.
        nodes: Ray nodes alive at its end.
        replicas: Replicas that run at its end.
        seconds: Until then.
        right: Right answers meanwhile.
        wrong: Wrong ones.
        lost: Requests that azaion_client gave up.
        slowest_s: Longest wait for an answer so far, seconds.
    """

    name: str
    nodes: int
    replicas: int
    seconds: float
    right: int
    wrong: int
    lost: int
    slowest_s: float


class ScaledService:
    """An autoscaled service on a cluster of Ray nodes."""

    def __init__(self, cluster: Cluster) -> None:
        """Starts Serve and deploys the service; the driver has joined the cluster."""
        self.cluster = cluster
        port = free_port()
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        # The queue of a lone replica holds a picture of every client: none is refused for want of a place.
        settings = ServiceSettings(
            autoscale={"min_gpus": 1, "max_gpus": MOST}, replicas_per_gpu=1, batch_size=1, max_queue=2 * CLIENTS
        )
        application = build_application(settings, open_steady_stand_in)
        deployment = application._bound_deployment
        application._bound_deployment = deployment.options(autoscaling_config=SCALING)
        serve.run(application, name=NAME, route_prefix="/")
        self.load = Load(f"http://127.0.0.1:{port}")
        self.steps: list[Step] = []

    def running(self) -> int:
        """Returns the number of replicas that run."""
        states = serve.status().applications[NAME].deployments[DEPLOYMENT].replica_states
        return next((count for state, count in states.items() if str(getattr(state, "value", state)) == "RUNNING"), 0)

    def step(self, name: str, do: Callable[[], object], *, nodes: int, replicas: int, seconds: float = 90.0) -> None:
        """Does something, waits until so many nodes live and replicas run, and notes what the clients saw.

        Raises:
            AssertionError: They do not within `seconds`.
        """
        right, wrong, lost = self.load.right, self.load.wrong, len(self.load.lost)
        begun = time.monotonic()
        do()
        while (found := (self._alive(), self.running())) != (nodes, replicas):
            assert time.monotonic() - begun < seconds, f"{name}: {found} nodes and replicas, not {(nodes, replicas)}"
            time.sleep(0.2)
        took = time.monotonic() - begun
        time.sleep(1)  # answers of the new replicas, or of those that are left
        self.steps.append(
            Step(
                name, nodes, replicas, round(took, 1), self.load.right - right, self.load.wrong - wrong,
                len(self.load.lost) - lost, round(self.load.slowest_s, 1),
            )
        )  # fmt: skip

    def _alive(self) -> int:
        return sum(node["Alive"] for node in ray.nodes())

    def remove(self, node: object) -> None:
        """Kills a node with all its processes."""
        self.cluster.remove_node(node, allow_graceful=False)

    def lose_the_gcs(self, seconds: float) -> None:
        """Kills the GCS, and starts another after a while, which finds the cluster's state in Redis."""
        self.cluster.head_node.kill_gcs_server()
        time.sleep(seconds)
        self.cluster.head_node.start_gcs_server()


@contextmanager
def redis() -> Iterator[dict[str, str]]:
    """Runs a Redis with a password; yields the environment and Ray's option of the head that name it."""
    port, password = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="chaos-redis-") as folder:
        settings = f"port {port}\nbind 127.0.0.1\nrequirepass {password}\nappendonly yes\ndir {folder}\n"
        with subprocess.Popen(["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as server:
            assert server.stdin is not None
            server.stdin.write(settings.encode())
            server.stdin.close()
            try:
                yield {"address": f"127.0.0.1:{port}", "password": password}
            finally:
                server.terminate()


@contextmanager
def scaled_service(with_redis: bool = False) -> Iterator[ScaledService]:
    """Runs the service on a head without GPUs and a node with one.

    Args:
        with_redis: Whether the GCS keeps its state in a Redis, so that it may die.
    """
    environment = {**EITHER_MODE, "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25"}
    head: dict[str, Any] = {"num_cpus": 2}
    with ExitStack() as stack:
        if with_redis:
            there = stack.enter_context(redis())
            environment |= {"RAY_REDIS_ADDRESS": there["address"], "RAY_gcs_rpc_server_reconnect_timeout_s": "120"}
            head |= {"redis_password": there["password"], "gcs_server_port": free_port()}
        stack.enter_context(mock.patch.dict(os.environ, environment))
        cluster = stack.enter_context(ray_cluster(head, {"num_cpus": 1, "num_gpus": 1}))
        ray.init(cluster.address, namespace="serve", log_to_driver=False)
        try:
            yield ScaledService(cluster)
        finally:
            serve.shutdown()
            ray.shutdown()


def up_and_down(service: ScaledService, losses: int, gcs_losses: int = 0, *, replaced: bool = True) -> list[Step]:
    """Scales 1 → 4 as nodes join, loses a node under load, and scales back to 1.

    Args:
        service: With one node beside its head.
        losses: How often a node dies.
        gcs_losses: How often the GCS dies for ten seconds; needs a Redis.
        replaced: Whether another takes the place of a node that died.
    """
    joined: list[object] = []

    def join(*gpus: int) -> None:
        joined.extend(add_node(service.cluster, num_cpus=count, num_gpus=count) for count in gpus)

    service.step("one replica, no load", lambda: None, nodes=2, replicas=1)
    service.load.begin(CLIENTS)
    service.step("nodes of 1 and 2 GPUs join", lambda: join(1, 2), nodes=4, replicas=MOST)
    for _ in range(losses):
        service.step("the node of 2 GPUs dies", lambda: service.remove(joined.pop()), nodes=3, replicas=2)
        if replaced:
            service.step("another takes its place", lambda: join(2), nodes=4, replicas=MOST)
    for _ in range(gcs_losses):
        service.step("the GCS dies for 10 s", lambda: service.lose_the_gcs(10), nodes=4, replicas=MOST)
    service.load.end()
    service.load.begin(1)
    service.step("one client is left", lambda: None, nodes=4 if replaced else 3, replicas=1)
    service.load.end()
    return service.steps


def table(steps: list[Step]) -> str:
    """Returns the steps as text."""
    lines = [f"{'step':28} {'nodes':>5} {'replicas':>8} {'s':>6} {'right':>6} {'wrong':>5} {'lost':>4} {'slowest':>7}"]
    for step in steps:
        counts = f"{step.seconds:6.1f} {step.right:6} {step.wrong:5} {step.lost:4} {step.slowest_s:7.1f}"
        lines.append(f"{step.name:28} {step.nodes:5} {step.replicas:8} {counts}")
    return "\n".join(lines)


def main() -> int:
    """Prints the steps, and returns 1 if an answer was wrong or lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--losses", type=int, default=5, help="nodes that die (default %(default)s)")
    parser.add_argument("--gcs-losses", type=int, default=0, help="times that the GCS dies; needs redis-server")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.gcs_losses and shutil.which("redis-server") is None:
        parser.error("--gcs-losses needs redis-server: apt install redis-server")
    with scaled_service(with_redis=options.gcs_losses > 0) as service:
        try:
            up_and_down(service, options.losses, options.gcs_losses)
        finally:
            print(table(service.steps))
        print("\n".join(service.load.lost) or "no request was lost")
    if options.json:
        record = {"machine": machine(), "steps": [asdict(step) for step in service.steps], "lost": service.load.lost}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return int(bool(service.load.lost or service.load.wrong))


if __name__ == "__main__":
    sys.exit(main())
