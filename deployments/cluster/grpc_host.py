"""Host of gRPC: Serve's gRPC servers listen on every address, and no setting of Serve's changes that."""

from __future__ import annotations

import logging
import os
from importlib import import_module
from ipaddress import ip_address
from typing import Any

logger = logging.getLogger("ray.serve")

GRPC_HOST = "AZAION_GRPC_HOST"
"""Environment variable with the address for gRPC; without it, every address. `azaion serve` sets it."""

_EVERY_ADDRESS = "[::]:"


def is_loopback(host: str) -> bool:
    """Returns whether an address, or `localhost`, is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen_where_told() -> None:
    """Makes the gRPC servers that this proxy or replica starts from now on listen where `AZAION_GRPC_HOST` says."""
    if host := os.environ.get(GRPC_HOST):
        _replace("ray.serve._private.default_impl", "add_grpc_address", host)


def keep_internal_on_loopback() -> None:
    """Makes the server of this replica for other deployments listen on loopback, if Ray itself does.

    Then no other machine can be part of the cluster. Serve unpickles what that server gets.
    """
    import ray

    if is_loopback(ray.util.get_node_ip_address()):
        _replace("ray.serve._private.replica", "add_port_to_grpc_server", "127.0.0.1")


def _replace(module_name: str, name: str, host: str) -> None:
    """Replaces a function `(server, address)` of Serve by one that puts the host in the place of every address."""
    module = import_module(module_name)
    original = getattr(module, name, None)
    if original is None:
        logger.warning("gRPC listens on every address: this Ray has no %s.%s", module_name, name)
        return
    if getattr(original, "host", None) == host:
        return
    shown = f"[{host}]" if ":" in host else host

    def add(server: Any, address: str) -> Any:
        port = address.removeprefix(_EVERY_ADDRESS)
        return original(server, address if port == address else f"{shown}:{port}")

    add.host = host  # type: ignore[attr-defined]
    setattr(module, name, add)
