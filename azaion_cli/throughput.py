"""Throughput mode: the environment in which `azaion serve` starts Ray for the most pictures a second."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection, Mapping
from itertools import islice
from pathlib import Path

from azaion_engine.errors import ConfigurationError, reason
from deployments.cluster.grpc_host import GRPC_HOST, is_loopback
from deployments.cluster.haproxy import BINARY, find_haproxy, haproxy_folder, launcher_of, missing_haproxy

EITHER_MODE = {
    # Our HTTP middlewares: request ids are sanitised, plain pictures answered at once.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.frontends.ingress:middlewares",
    # A proxy, or a HAProxy, that failed three checks is replaced: after seconds, not half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
    # One that starts has a minute, in three checks, not 15 s: on a busy machine with a cold disk it takes 20 s.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
    # `serve shutdown` ends the proxies after the last replica, not with it.
    "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "deployments.cluster.ending:let_proxies_end_last",
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

_ABOVE_RAYS, _BELOW_REPLICAS = 20_000, 30_000
"""Ray's workers listen on 10002 to 19999 by default, replicas behind HAProxy from 30000 on."""
_SYSTEM_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")

_CONSOLE = {"RAY_SERVE_LOG_TO_STDERR": "1"}
"""Throughput mode would turn the console's log off, and with it the line `ready in …`."""

_STOP_AT_ONCE = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
"""Seconds that an ending replica waits for load balancers to forget it: here the only one ends with it."""

RAY_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's name for a node that is no part of a cluster of several: its address is 127.0.0.1, and all its ports are there
(`ray._private.services.get_node_ip_address`). Where HTTP listens on loopback, all the rest does."""

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

_REPLICAS_GRPC = range(40_000, 50_000, 1000)
"""First ports of the ranges for the replicas' gRPC. Serve's own is the first one, and a second service of the machine
would share its ports without an error, and get some of its requests: gRPC listens with SO_REUSEPORT."""


def serve_environment(
    given: Mapping[str, str], port: int, throughput: bool, host: str = "0.0.0.0"
) -> tuple[dict[str, str], str]:
    """Returns the environment for Ray Serve, and why HAProxy cannot run although it was wanted (empty if it can).

    A Ray that runs already keeps the environment that it was started in: then there is nothing to add. One that is dead
    is not joined.

    Args:
        given: The user's environment, which wins.
        port: TCP port of HTTP.
        throughput: Whether throughput mode is on.
        host: Address on which HTTP listens; if it is loopback, a Ray that starts here listens there alone, too.

    Raises:
        ConfigurationError: The folder for HAProxy's files is not private to this user.
    """
    if dead_ray(given):
        given = {**given, "RAY_ADDRESS": "local"}
    if running_ray(given):
        return {**EITHER_MODE, **given}, ""
    closed = {**RAY_ON_LOOPBACK, GRPC_HOST: "127.0.0.1"} if is_loopback(host) else {}
    if not throughput:
        return {**EITHER_MODE, **closed, **given}, ""
    environment = {**EITHER_MODE, **closed, **SETTINGS, **_CONSOLE, **given}
    if environment[HAPROXY] != "1":
        return environment, ""
    binary, missing = find_haproxy(given), missing_haproxy(given)
    if binary is None or missing:
        return {**environment, HAPROXY: "0"}, missing
    own = _own_haproxy(port)
    try:
        environment[BINARY] = str(launcher_of(binary))
    except ConfigurationError as error:
        return {**environment, HAPROXY: "0"}, str(error)
    return {**own, **_STOP_AT_ONCE, **environment}, ""


def running_ray(environment: Mapping[str, str]) -> str:
    """Returns the address of the Ray that `serve run` would join; empty if it would start its own.

    Looks where Ray looks: in RAY_ADDRESS, then in the file that `ray start` leaves.
    """
    if address := environment.get("RAY_ADDRESS"):
        return "" if address == "local" else address
    address = _noted_ray(environment)
    return address if answers(address) else ""


def dead_ray(environment: Mapping[str, str]) -> str:
    """Returns the address of a Ray that ended without removing the file that names it; empty if there is none.

    Ray would try to join it, and fail.
    """
    if environment.get("RAY_ADDRESS"):
        return ""
    address = _noted_ray(environment)
    return "" if answers(address) else address


def _noted_ray(environment: Mapping[str, str]) -> str:
    folder = environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp"
    try:
        return Path(folder, "ray", "ray_current_cluster").read_text().strip()
    except OSError:
        return ""


def answers(address: str) -> bool:
    """Returns whether somebody listens on `host:port`, or `[host]:port` of IPv6; False for what is no such address."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def taken(host: str, port: int) -> bool:
    """Returns whether somebody listens on a port at an address.

    Ray Serve would not notice: it listens with SO_REUSEPORT, and the system then shares the requests out.

    Raises:
        ConfigurationError: The address is not one of this machine's, or the port is not for this user.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended do not matter
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise ConfigurationError(
                f"nothing can listen on port {port} of {host}: {reason(error)}; expected an address of this "
                "machine and a port that this user may open"
            ) from error
    return False


def _own_haproxy(port: int) -> dict[str, str]:
    """Returns files and ports of a HAProxy that other services of this machine do not use."""
    folder = haproxy_folder()
    own = {name: str(folder / file) for name, file in _FILES.items()}
    chosen = {port}
    for name, default in _PORTS.items():
        free = default if default not in chosen and _is_free(default) else free_ports(1, chosen)[0]
        own[name] = str(free)
        chosen.add(free)
    first = next((first for first in _REPLICAS_GRPC if _is_free(first)), _REPLICAS_GRPC[0])
    own["RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT"] = str(first)
    own["RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT"] = str(first + _REPLICAS_GRPC.step - 1)
    return own


def free_ports(count: int, unlike: Collection[int] = ()) -> list[int]:
    """Returns TCP ports on which nobody listens now, at any address, all different.

    They lie between the ports that Ray gives to its workers and those of replicas, or those that the system gives to
    anybody: Ray takes dozens of the latter while it starts, before Serve and HAProxy bind these.

    Args:
        count: How many.
        unlike: Ports that are not among them.

    Raises:
        ConfigurationError: There are not so many.
    """
    lowest_of_system = int(_SYSTEM_PORTS.read_text().split()[0]) if _SYSTEM_PORTS.exists() else 32768
    end = min(lowest_of_system, _BELOW_REPLICAS)
    candidates = list(range(_ABOVE_RAYS, end)) or list(range(_ABOVE_RAYS, 65536))
    random.shuffle(candidates)
    found = list(islice((port for port in candidates if port not in unlike and _is_free(port)), count))
    if len(found) < count:
        raise ConfigurationError(f"no {count} free ports from {_ABOVE_RAYS} on")
    return found


def _is_free(port: int) -> bool:
    """Tells whether nobody listens on a port, at any address."""
    return not taken("", port)
