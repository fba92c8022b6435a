"""Service: the real service as a child process, `azaion serve` on ports of its own."""

from __future__ import annotations

import http.client
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from azaion_cli.throughput import free_ports
from azaion_cli.tuning.client import Request
from azaion_cli.tuning.processes import ChildTree

HOST = "127.0.0.1"
ANSWER_S = 60.0
ALL_READY_S = 30.0
"""Longest wait for the other replicas after the first answer, seconds."""
PORTS_FREE_S = 30.0

ENVIRONMENT = {
    "RAY_ADDRESS": "local",  # a Ray of its own: a running cluster, and what it serves, are left alone
    "RAY_DEDUP_LOGS": "0",  # each replica says that it is ready
    "RAY_USAGE_STATS_ENABLED": "0",
}
_GIVEN_UP = re.compile(r"Failed to update the deployments|Deploying app '\S+' failed|DEPLOY_FAILED")
"""What Serve logs when it no longer tries; `serve run` itself goes on waiting."""
_READY = re.compile(r"-- ready in [\d.]+ s: ")
"""What each replica logs (`deployments/deployment.py`)."""
_REASON = re.compile(
    r"^\S*?\b(?:[A-Za-z_]+\.)+[A-Za-z_]*(?:Error|Exception): (?P<said>.+)$|^[A-Za-z]*Error: (?P<plain>.+)$"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SOURCE = re.compile(r"^\([^)]* pid=\d+[^)]*\) ?")


class NotServedError(Exception):
    """The service does not start or does not answer; the text is the reason."""


@contextmanager
def running_service(
    config: Mapping[str, Any], replicas: int, picture: bytes, until: float
) -> Iterator[tuple[Request, bytes]]:
    """Starts the service, yields the request for a picture and its first answer, and stops it again.

    The ports are free and every process has ended when this returns.

    Args:
        config: Serve configuration; its ports are replaced.
        replicas: Replicas that it starts.
        picture: Encoded picture.
        until: When waiting for the first answer ends, monotonic seconds.

    Raises:
        NotServedError: The service ends, gives up, refuses the picture or is not ready in time.
    """
    config = deepcopy(dict(config))
    ports = free_ports(4)
    config["http_options"].update(host=HOST, port=ports[0])
    if "grpc_options" in config:
        config["grpc_options"]["port"] = ports[1]
    haproxy = {"RAY_SERVE_HAPROXY_STATS_PORT": str(ports[2]), "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[3])}
    request = Request(HOST, ports[0], "/detect", picture, {"Content-Type": "application/octet-stream"})
    with tempfile.TemporaryDirectory(prefix="azaion-tune-") as folder, (Path(folder) / "log").open("wb") as log:
        file = Path(folder) / "serve_config.yaml"
        file.write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "azaion_cli", "serve", str(file)]
        child = ChildTree(command, {**ENVIRONMENT, **haproxy}, log)
        try:
            first = _first_answer(child, request, Path(log.name), until)
            _await_replicas(Path(log.name), replicas, until)
            child.look()
            yield request, first
        finally:
            child.stop()
            _await_free(ports)


def reason_in(log: str) -> str:
    """Returns why a service did not start: the last error in its log, else its last line."""
    lines = [_SOURCE.sub("", _COLOUR.sub("", line)).strip() for line in log.splitlines()]
    found = [match for line in lines if (match := _REASON.match(line))]
    if found:
        return found[-1]["said"] or found[-1]["plain"]
    return next((line for line in reversed(lines) if line), "it said nothing")


def _first_answer(child: ChildTree, request: Request, log: Path, until: float) -> bytes:
    answered = "nothing"
    while time.monotonic() < until:
        child.look()
        if child.process.poll() is not None:
            raise NotServedError(f"ended with {child.process.returncode}: {reason_in(_read(log))}")
        if _GIVEN_UP.search(_read(log)):
            raise NotServedError(reason_in(_read(log)))
        try:
            status, body = _ask(request)
        except (OSError, http.client.HTTPException) as error:  # not listening yet
            answered = repr(error)
        else:
            if status == 200:
                return body
            answered = f"{status} {body[:300].decode(errors='replace')}"
            if status in (400, 413, 415, 422):
                raise NotServedError(f"the picture is refused: {answered}")
        time.sleep(0.2)
    raise NotServedError(f"not ready in time, last answer: {answered}")


def _ask(request: Request) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(request.host, request.port, timeout=ANSWER_S)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _await_replicas(log: Path, replicas: int, until: float) -> None:
    """Waits until every replica is ready; not for ever, as a changed log line would stop all tuning."""
    end = min(until, time.monotonic() + ALL_READY_S)
    while len(_READY.findall(_read(log))) < replicas and time.monotonic() < end:
        if _GIVEN_UP.search(_read(log)):
            raise NotServedError(f"not all of {replicas} replicas: {reason_in(_read(log))}")
        time.sleep(0.2)


def _await_free(ports: list[int]) -> None:
    end = time.monotonic() + PORTS_FREE_S
    while time.monotonic() < end and any(map(_is_taken, ports)):
        time.sleep(0.2)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _read(log: Path) -> str:
    return log.read_text(errors="replace")
