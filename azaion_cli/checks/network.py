"""Checks of the network: Ray's token, ports that other machines reach, HAProxy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from azaion_cli.checks.check import Check
from azaion_cli.checks.listeners import Listener, listeners
from azaion_cli.throughput import running_ray
from deployments.cluster.haproxy import find_haproxy, missing_haproxy
from deployments.cluster.token import MODE, REMEDY

PORTS = "ports"
"""Name of the check of the ports."""

_PORTS_TOLD = 8


def network_checks() -> Iterator[Check]:
    """Checks who reaches what runs here, and with what HAProxy it would be reached."""
    ours = listeners_of_ray()
    open_ = [each for each in ours if not each.is_local]
    yield _token(ours, open_)
    yield _ports(ours, open_)
    yield _haproxy()


def listeners_of_ray() -> list[Listener]:
    """Returns the listening sockets of Ray's and Serve's processes on this machine."""
    return [each for each in listeners() if _is_of_ray(each)]


def has_token(ours: Iterable[Listener]) -> bool | None:
    """Returns whether every daemon of Ray among listeners asks for its token; None if there is no daemon."""
    daemons = [each for each in ours if _is_daemon(each.process)]
    return not _without_token(daemons) if daemons else None


def _is_of_ray(listener: Listener) -> bool:
    """Tells Ray's and Serve's processes from their command lines, HAProxy from the folder of its file."""
    line = listener.process
    return (
        line.startswith("ray::")
        or "/ray/" in line
        or "azaion_cli.foreground" in line
        or "ray.serve" in line
        or ("haproxy" in line and f"azaion-{os.getuid()}" in line)
    )


def _token(ours: list[Listener], open_: list[Listener]) -> Check:
    name = "Ray's token"
    daemons = [each for each in ours if _is_daemon(each.process)]
    if not daemons:
        if os.environ.get(MODE, "token").lower() != "token":
            return Check(name, "warning", f"{MODE} turns it off for a Ray that starts here", f"unset {MODE}")
        if address := running_ray(os.environ):
            return Check(name, "warning", f"Ray at {address} cannot be asked from here", REMEDY)
        return Check(name, "ok", "no Ray runs here; `azaion serve` starts it with a token")
    without = _without_token(daemons)
    if not without:
        return Check(name, "ok", "on: Ray takes no commands without it")
    if any(each in open_ for each in without):
        return Check(name, "problem", "off: anyone who reaches this machine's ports can run code on it", REMEDY)
    return Check(name, "warning", "off: every user of this machine can run code in it", REMEDY)


def _without_token(daemons: Iterable[Listener]) -> list[Listener]:
    return [each for each in daemons if process_environment(each.pid).get(MODE, "").lower() != "token"]


def _ports(ours: list[Listener], open_: list[Listener]) -> Check:
    name = PORTS
    if not ours:
        return Check(name, "ok", "nothing of Ray or Serve listens here")
    if not open_:
        return Check(name, "ok", f"{len({each.port for each in ours})}, all on loopback")
    told = [f"{each.port} ({short_name(each.process)})" for each in open_[:_PORTS_TOLD]]
    more = f" and {len(open_) - _PORTS_TOLD} more" if len(open_) > _PORTS_TOLD else ""
    advice = "keep a firewall before all but the service's own (SECURITY.md, Ports), or serve on 127.0.0.1"
    return Check(name, "warning", f"other machines reach {', '.join(told)}{more}", advice)


def _haproxy() -> Check:
    if missing := missing_haproxy(os.environ):
        advice = "pip install 'ray[serve]', or your system's haproxy; without it Serve's slower Python proxy listens"
        return Check("HAProxy", "warning", missing, advice)
    return Check("HAProxy", "ok", str(find_haproxy(os.environ)))


def _is_daemon(command: str) -> bool:
    return Path(command.partition(" ")[0]).name in ("gcs_server", "raylet")


def short_name(command: str) -> str:
    """Returns the name of a program for people, from its command line."""
    words = [Path(word).name for word in command.split()[:3] if not word.startswith("-")]
    return next((word for word in words if not word.startswith("python")), "another user's")


def process_environment(pid: int) -> Mapping[str, str]:
    """Returns the environment in which a process of this user started; empty if it cannot be read."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
