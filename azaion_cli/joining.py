"""Joining: the Ray that runs already is found, and tried before this process depends on it.

`ray start` leaves a file that names its address; `azaion serve` and `serve run` start a Ray that leaves none. Ray's own
commands find it by the command line of its processes, and so does this. What is no GCS keeps `ray.init` for minutes,
and signals wait for it: so it is tried in a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from azaion_cli.checks.listeners import listeners
from azaion_cli.throughput import RAY_ON_LOOPBACK, answers, running_ray
from azaion_engine.errors import ConfigurationError
from deployments.cluster.grpc_host import is_loopback

TRY_S = 60.0
"""Seconds to join a Ray; it takes one to three."""

_PROC = Path("/proc")
_FLAG = b"--gcs-address="
_INHERITED = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
"""Variables of Ray's processes that a client needs to connect to them."""
_GCS = "expected the address of a cluster's GCS, HOST:6379"
_TOKEN = "if it has a token, set RAY_AUTH_MODE=token here, and have the token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
_JOIN = """
import signal, sys, ray
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))  # ends this process: importing Ray does not count
try:
    ray.init(sys.argv[1], namespace="azaion", log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


class LocalRay(NamedTuple):
    """A Ray of this machine.

    Attributes:
        address: Host and port of its head.
        environment: Variables that a process needs to connect to it, set before `import ray`.
    """

    address: str
    environment: dict[str, str]


def ray_to_join(environment: Mapping[str, str], proc: Path = _PROC) -> LocalRay:
    """Returns the Ray that RAY_ADDRESS names; the one that runs here if it names none, or `auto`.

    Args:
        environment: The user's environment.
        proc: Where Linux tells of processes.

    Raises:
        ConfigurationError: None runs here, or several do.
    """
    found = _daemons(proc)
    if environment.get("RAY_ADDRESS") == "auto":
        environment = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    if address := running_ray(environment):
        return _with_loopback(LocalRay(address, found.get(address, {})))
    if not found:
        raise ConfigurationError("no Ray runs here; start the service first, or set RAY_ADDRESS=HOST:6379")
    if len(found) > 1:
        raise ConfigurationError(f"several Rays run here: {', '.join(sorted(found))}; name one with RAY_ADDRESS")
    return _with_loopback(LocalRay(*found.popitem()))


def ready_to_join(address: str | None = None, seconds: float = TRY_S) -> str:
    """Prepares this process, which has not imported Ray yet, for joining one that runs.

    Args:
        address: Its address; None: RAY_ADDRESS, else the Ray of this machine; `auto`: that.
        seconds: Time to join it in.

    Returns:
        Its address, for `ray.init`.

    Raises:
        ConfigurationError: None or several run here, or it cannot be joined.
    """
    found = ray_to_join({**os.environ, "RAY_ADDRESS": address} if address else os.environ)
    check_joins(found.address, found.environment, seconds)
    for name, value in found.environment.items():
        os.environ.setdefault(name, value)  # Ray reads them when it is imported
    return found.address


def environment_to_join(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment in which a program joins the Ray that runs, which is tried before.

    Args:
        environment: That of this process, which wins.

    Raises:
        ConfigurationError: None or several run here, or it cannot be joined.
    """
    found = ray_to_join(environment)
    check_joins(found.address, found.environment, TRY_S)
    return {**found.environment, **environment, "RAY_ADDRESS": found.address}


def check_joins(address: str, environment: Mapping[str, str], seconds: float) -> None:
    """Joins a Ray in a process of its own, and leaves it.

    Args:
        address: Host and port of its GCS.
        environment: Variables that joining it needs, beside those of this process, which win.
        seconds: Time to join it in.

    Raises:
        ConfigurationError: Nothing listens there, or it cannot be joined, or not within that time.
    """
    if not answers(address):  # Ray itself would try for minutes
        raise ConfigurationError(f"no Ray answers at {address}: {_GCS}")
    command = [sys.executable, "-c", _JOIN, address, str(seconds)]
    variables = {**environment, **os.environ}
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=variables)
    if ran.returncode == -signal.SIGALRM:
        raise ConfigurationError(
            f"what listens at {address} does not answer as a Ray does within {seconds:g} s: {_GCS}; {_TOKEN}"
        )
    if ran.returncode:
        said = (ran.stderr.splitlines() or [f"status {ran.returncode}"])[-1]
        raise ConfigurationError(f"cannot join the Ray at {address}: {said}; {_TOKEN}")


def _with_loopback(ray: LocalRay) -> LocalRay:
    """Adds the variables with which Ray keeps to 127.0.0.1, for a Ray that listens there alone.

    Without them Ray takes 127.0.0.1 in an address for this machine's own, on which such a Ray does not listen.
    """
    host, _, port = ray.address.rpartition(":")
    if not is_loopback(host) or _listens_beyond_loopback(port):
        return ray
    return ray._replace(environment={**RAY_ON_LOOPBACK, **ray.environment})


def _listens_beyond_loopback(port: str) -> bool:
    """Returns whether a Ray of this machine, though named by a loopback address, listens on the node's own too.

    `ray start` does, and so does a pod of KubeRay, whose RAY_ADDRESS is 127.0.0.1:6379; `azaion serve` does not.
    """
    return any(str(each.port) == port and not each.is_local for each in listeners())


def _daemons(proc: Path) -> dict[str, dict[str, str]]:
    """Returns the address of each Ray whose node runs here, and of its variables those that clients need."""
    found: dict[str, dict[str, str]] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            address = next((each.removeprefix(_FLAG) for each in arguments if each.startswith(_FLAG)), b"").decode()
            if not address or os.path.basename(arguments[0]) != b"raylet":
                continue
            lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended, or belongs to another user
            continue
        pairs = (line.partition("=") for line in lines)
        found[address] = {name: value for name, _, value in pairs if name in _INHERITED}
    return found
