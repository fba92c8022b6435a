"""Ray's token: whether a cluster lets in only those who have it.

Ray's ports take commands, and Serve's internal ones unpickle what they get: without token authentication, anyone who
reaches them can run code (docs.ray.io, "Token authentication"). `ray.init`, and so `azaion serve` and `serve run`,
turns it on for a cluster that it starts; `ray start` does only if there is a token.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from azaion_engine.errors import ConfigurationError
from deployments.cluster.grpc_host import is_loopback

logger = logging.getLogger("ray.serve")

MODE = "RAY_AUTH_MODE"
"""Environment variable: `token` turns token authentication on; processes of a cluster inherit it."""

REMEDY = (
    "`ray get-auth-token --generate >/dev/null` once, the file ~/.ray/auth_token copied to every node, and "
    "`export RAY_AUTH_MODE=token` before `ray start` on every node and before `serve deploy`"
)
"""The two commands that turn it on."""


def check_token(nodes: Iterable[Mapping[str, Any]], required: bool) -> None:
    """Checks a cluster that is without token authentication: warns if others reach it, or refuses it.

    Args:
        nodes: The cluster's nodes, as from `ray.nodes()`.
        required: Whether it is refused, wherever it listens.

    Raises:
        ConfigurationError: It is required, and off.
    """
    if token_is_on():
        return
    if required:
        raise ConfigurationError(f"require_ray_token is set, and this Ray is without its token: {REMEDY}")
    addresses = [str(node.get("NodeManagerAddress", "")) for node in nodes if node["Alive"]]
    if len(addresses) > 1 or any(address and not is_loopback(address) for address in addresses):
        logger.warning(
            "OPEN: ANYONE WHO REACHES THE PORTS OF THIS RAY (%s) CAN RUN CODE ON IT, as its token authentication is "
            "off. Turn it on: %s. `require_ray_token: true` refuses to serve without",
            ", ".join(addresses),
            REMEDY,
        )


def token_is_on() -> bool:
    """Returns whether this process speaks to its cluster with a token."""
    try:
        from ray._private.authentication.authentication_utils import is_token_auth_enabled
    except ImportError:  # another Ray has another place for it
        return os.environ.get(MODE, "").lower() == "token"
    return bool(is_token_auth_enabled())
