"""Local Ray: finds the Ray that a service of this machine started, to connect to it.

`ray start` leaves a file that names its address; `azaion serve` and `serve run` start a Ray that leaves none. Ray's own
commands find it by the command line of its processes, and so does this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from azaion_cli.checks.listeners import listeners
from azaion_cli.throughput import RAY_ON_LOOPBACK, running_ray
from azaion_engine.errors import ConfigurationError
from deployments.cluster.grpc_host import is_loopback

_PROC = Path("/proc")
_FLAG = b"--gcs-address="
_INHERITED = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
"""Variables of Ray's processes that a client needs to connect to them."""


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


def _with_loopback(ray: LocalRay) -> LocalRay:
    """Adds the variables with which Ray keeps to 127.0.0.1: such a Ray does not listen on the machine's own address."""
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
