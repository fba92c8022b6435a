"""Ledger actor: the ledger of a service in a Ray actor, by whose name every replica finds it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import ray
from ray import serve
from ray.exceptions import GetTimeoutError, RayActorError

from deployments.access.leases import Leases
from deployments.access.ledger import Grant, Ledger, Report
from deployments.access.quota import Limits
from deployments.access.quotas import LoneQuotas, Quotas

logger = logging.getLogger("ray.serve")

UNUSED_S = 600.0
"""Seconds without a question after which the actor ends: it outlives the replicas, for their successors to go on with
its counts. Replicas that still live tell a new one what they used."""

_START_S = 30.0
"""Seconds that a replica waits for the ledger's process when it starts."""

_NAMESPACE = "azaion"


class LedgerActor(Ledger):
    """A `Ledger` that ends its own process when nobody has asked for `UNUSED_S`."""

    def __init__(self, unused_s: float = UNUSED_S) -> None:
        super().__init__()
        self._asked_at = time.monotonic()
        threading.Thread(target=self._end_unused, args=(unused_s,), name="unused", daemon=True).start()

    def exchange(self, replica: str, name: str, limits: Limits, report: Report, want: bool) -> Grant:
        """Settles and lends, as `Ledger.exchange`."""
        self._asked_at = time.monotonic()
        return super().exchange(replica, name, limits, report, want)

    def _end_unused(self, unused_s: float) -> None:
        while (left_s := self._asked_at + unused_s - time.monotonic()) > 0:
            time.sleep(left_s)
        ray.kill(ray.get_runtime_context().current_actor)


class LedgerLink:
    """Calls the ledger of a service, from any event loop; starts it where it is missing."""

    def __init__(self, service: str, replica: str) -> None:
        """Finds or starts the actor, which takes no CPU of Ray's and is started again after a crash.

        Args:
            service: Name of the Serve application, of several models that of their catalogue.
            replica: Id of this replica.
        """
        self._name = f"ledger of {service}"
        self._replica = replica
        self._actor = self._connect()
        try:  # else the first pictures find no ledger, and each replica would keep to its part
            ray.get(self._actor.__ray_ready__.remote(), timeout=_START_S)
        except (RayActorError, GetTimeoutError) as error:
            logger.warning("the ledger of the keys does not start within %g s: %r", _START_S, error)

    async def __call__(self, name: str, limits: Limits, report: Report, want: bool) -> Grant:
        """Settles and lends, as `Ledger.exchange`.

        Raises:
            RayActorError: The actor is away; the next call may find it.
        """
        try:
            grant: Grant = await self._actor.exchange.remote(self._replica, name, limits, report, want)
        except RayActorError:
            self._actor = await asyncio.to_thread(self._connect)
            raise
        return grant

    def _connect(self) -> Any:
        options = {"name": self._name, "namespace": _NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        return ray.remote(LedgerActor).options(num_cpus=0, max_restarts=-1, **options).remote()


def quotas_of(replicas: int, service: str | None = None) -> Quotas:
    """Returns the limits of this replica's keys; several replicas keep them together through a ledger.

    Args:
        replicas: Number of replicas that keep them together, at most.
        service: Name of what these replicas belong to; default: this replica's application.
    """
    if replicas == 1:
        return LoneQuotas()
    context = serve.get_replica_context()
    return Leases(LedgerLink(service or context.app_name, context.replica_id.unique_id), replicas)
