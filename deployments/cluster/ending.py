"""Ending of Serve: `serve shutdown` and Ctrl-C of `serve run` let the proxies end last.

Serve ends its proxies and its replicas at once, which cuts the requests that a replica is still answering. In the
environment of Ray's start, RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH=deployments.cluster.ending:let_proxies_end_last
makes its controller wait with the proxies until the last replica has ended; `azaion serve` sets it.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("ray.serve")


def let_proxies_end_last() -> None:
    """Changes the controller of this process, before it has made its managers of proxies and deployments."""
    from ray.serve._private.deployment_state import DeploymentStateManager
    from ray.serve._private.proxy_state import ProxyStateManager

    if not (hasattr(DeploymentStateManager, "is_ready_for_shutdown") and hasattr(ProxyStateManager, "shutdown")):
        logger.warning("this Ray ends its proxies in another way: `serve shutdown` may cut requests in flight")
        return
    managers: list[Any] = []
    begin, end_proxies = DeploymentStateManager.__init__, ProxyStateManager.shutdown

    def begin_known(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        managers[:] = [self]

    def end_proxies_last(self: Any) -> None:
        # The controller calls this again and again until everything has ended.
        if all(manager.is_ready_for_shutdown() for manager in managers):
            end_proxies(self)

    DeploymentStateManager.__init__ = begin_known
    ProxyStateManager.shutdown = end_proxies_last
