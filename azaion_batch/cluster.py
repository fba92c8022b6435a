"""Cluster: the Ray that a job runs on, and how many workers it has room for."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import floor

from azaion_engine.errors import ConfigurationError, MissingDependencyError
from azaion_engine.files.names import printable
from azaion_engine.settings import EngineChoice

_OWN_RAY = {
    # Ray's name for a node that is no part of a cluster of several: its address is 127.0.0.1, and its ports are there.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Without it Ray prints errors that Ray Data handles, such as a worker that died.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Without it Ray ends idle processes beyond one a core after a second, and reading and writing wait for new ones.
    "RAY_num_workers_soft_limit": str(max(16, os.cpu_count() or 1)),
}
"""Environment of a Ray of a job's own; Ray reads it when it is imported."""

READS = 2
"""Chunks that are read at once for each worker: one from a disk is enough, buckets answer late."""
WRITES, WRITES_OF_GPU = 1, 3
"""Parts that are written at once for each worker; one with a GPU makes several a second, and buckets are slow."""
WORKERS_OF_GPU = 3
"""Workers before the one engine of a GPU, which runs in a process of its own: it detects in more pictures than one
interpreter can read, hand over and turn into rows, with Ray's threads beside it."""
FIRST_PASS, SECOND_PASS = 0.96, 0.04
"""Shares of a GPU that Ray counts for its workers: a second pass must not wait for those of the first, which Ray Data
may not have let go of."""
TASK_CPUS = 1 / 16
"""Share of a core that reading and writing are counted with in Ray: both wait most of the time."""


@dataclass(frozen=True)
class Workers:
    """How many detectors run, and with what.

    Attributes:
        most: Maximum number at once.
        cpus: Cores that Ray counts for each.
        gpus: Share of a GPU that Ray counts for each. 0: none.
        threads: Threads of each that decode.
        machines: Number of machines of the cluster.
        shared: Whether those of a GPU share one engine.
    """

    most: int
    cpus: float
    gpus: float
    threads: int
    machines: int = 1
    shared: bool = False

    def apart(self) -> Workers:
        """Returns workers of which each has an engine of its own, so that one that dies takes no other's work along.

        Ray counts so little for them that there is room beside those of before.
        """
        few = replace(self, cpus=min(self.cpus, TASK_CPUS), shared=False)
        return replace(few, most=self.most // WORKERS_OF_GPU, gpus=SECOND_PASS) if self.gpus else few


def check_installed() -> None:
    """Checks that Ray Data's packages are there; imports none.

    Raises:
        MissingDependencyError: One is missing.
    """
    missing = [name for name in ("ray", "pyarrow", "pandas") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"not installed: {', '.join(missing)}; pip install 'azaion-engine[batch]'")


def prepare_own_ray() -> None:
    """Sets the environment of a Ray that this process starts; to be called before Ray is imported."""
    for name, value in _OWN_RAY.items():
        os.environ.setdefault(name, value)


@contextmanager
def running_ray(address: str | None) -> Iterator[None]:
    """Connects to a Ray cluster, or starts a Ray of its own on this machine's loopback that ends with the block.

    Args:
        address: Address of a cluster, or `auto`; None: RAY_ADDRESS, else its own.

    Raises:
        ConfigurationError: There is no cluster at that address, or Ray does not start.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = {"include_dashboard": False} if address == "local" else {}
    if own and "ray" not in sys.modules:
        prepare_own_ray()
    import ray

    started = not ray.is_initialized()
    try:
        if started:
            with _own_sigterm(), _printable_command_line():
                ray.init(address=address, **quiet, **own)
    except Exception as error:  # Ray raises a bare one where its start takes too long
        what = "Ray does not start on this machine" if own else f"no Ray cluster at {address}"
        raise ConfigurationError(f"{what}: {error}") from error
    try:
        yield
    finally:
        if started:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Puts back a handler of SIGTERM, such as the command's, in whose place `ray.init` puts one that ends at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _printable_command_line() -> Iterator[None]:
    """Has Ray note this process's command line as text: it does not start where an argument is not UTF-8."""
    from ray._private import utils

    told = getattr(utils, "get_entrypoint_name", None)
    if told is None:  # another Ray
        yield
        return
    utils.get_entrypoint_name = lambda: printable(told())
    try:
        yield
    finally:
        utils.get_entrypoint_name = told


def find_workers(engine: EngineChoice, wanted: int | None) -> Workers:
    """Returns the workers that the cluster has room for.

    With GPUs, `WORKERS_OF_GPU` before the engine of each; without, one a machine, whose engine takes all cores.

    Args:
        engine: The engine of the settings.
        wanted: Number of engines; None: as many as fit.

    Raises:
        ConfigurationError: `engine: tensorrt`, and the cluster has no GPU.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = 0 if engine == "onnx" else int(sum(node.get("GPU", 0) for node in nodes))
    if engine == "tensorrt" and not gpus:
        raise ConfigurationError("engine: tensorrt cannot be used here: this Ray has no GPU")
    cores = min(int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0)) if nodes else 1
    # What others hold is not waited for.
    free = min(cores, ray.available_resources().get("CPU", 0) / len(nodes))
    if gpus:
        each = WORKERS_OF_GPU * max(1, int(max(node.get("GPU", 0) for node in nodes)))
        most = WORKERS_OF_GPU * min(wanted or gpus, gpus)
        cpus = min(1, _share(free / each, WRITES_OF_GPU))
        return Workers(most, cpus, FIRST_PASS / WORKERS_OF_GPU, max(2, cores // each), len(nodes), shared=True)
    most = wanted or len(nodes)
    each = -(-most // len(nodes))
    return Workers(most, _share(free / each, WRITES), 0, max(1, cores // each), len(nodes))


def _share(cores: float, writes: int) -> float:
    """Returns the cores that Ray counts for a worker, of those that it has with its tasks.

    Room stays for all tasks, by Ray's counts: Ray Data reserves it from the first stage to the last, and where none is
    left for writing, no part is written until all is read; where none is left for reading, nothing ever begins.
    """
    return max(0.01, floor(256 * (cores - (READS + writes) * TASK_CPUS)) / 256)
