"""Leases: `Quotas` of one replica of several, which gets its pictures in blocks from the ledger of them all."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from deployments.access.ledger import Grant, Report
from deployments.access.quota import Clock, Limits, Quota, Refusal, today

logger = logging.getLogger("ray.serve")

ANSWER_S = 0.25
"""Seconds that the ledger may take; it answers within milliseconds, if it is there."""

ALONE_S = 5.0
"""Seconds for which a replica keeps to its even part before it asks a silent ledger again."""

IDLE_S = 2.0
"""Seconds after which a replica gives back what it does not use."""

_ASK_AGAIN_S = 1.0
"""Seconds after which it asks again after a refusal: another replica may have given back, or the limits are others."""

_SOON_S = 0.01

_FETCHED_EARLY = 4
"""Pictures in a block from which on the next one is fetched before it is used up: of few, none may lie idle."""


class AskLedger(Protocol):
    """Calls `Ledger.exchange`, wherever it is; the replica's id is known to it."""

    async def __call__(self, name: str, limits: Limits, report: Report, want: bool) -> Grant:
        """Settles and asks; any exception means that there is no ledger at the moment."""
        ...


class _Lease:
    """What this replica has of one key."""

    def __init__(self, limits: Limits, alone: Quota) -> None:
        self.limits = limits
        self.left = 0
        self.block = 1
        self.day = 0
        self.used = 0
        self.spent_at = 0.0
        self.refusal: Refusal | None = None
        self.refused_at = 0.0
        self.alone = alone
        self.alone_until = 0.0
        self.debt = 0
        self.exchange: asyncio.Task[None] | None = None


class Leases:
    """Keeps the limits of every key together with other replicas.

    A picture is taken from the block at hand; the next block is fetched while there is still some of it. If the ledger
    does not answer, the replica keeps to its even part of the limits: it neither refuses everything nor lets it pass.
    """

    def __init__(
        self, ask: AskLedger, replicas: int, clock: Clock = time.monotonic, calendar: Clock = time.time
    ) -> None:
        """Asks for nothing yet.

        Args:
            ask: Calls the ledger.
            replicas: Number of replicas that share the limits, at most.
            clock: Seconds that never go back.
            calendar: Seconds since 1970, UTC.
        """
        self._ask = ask
        self._replicas = replicas
        self._clock, self._calendar = clock, calendar
        self._leases: dict[str, _Lease] = {}
        self._returning: asyncio.Task[None] | None = None

    async def take(self, name: str, limits: Limits) -> Refusal | None:
        """Counts a picture, or returns why the key may send none now."""
        lease = self._lease(name, limits)
        if self._returning is None:
            self._returning = asyncio.get_running_loop().create_task(self._return_idle())
        while True:
            now = self._clock()
            if lease.left >= 1:
                self._spend(lease, 1)
                if lease.block >= _FETCHED_EARLY and 2 * lease.left < lease.block and lease.refusal is None:
                    self._renew(name, lease)
                return None
            if now < lease.alone_until:
                if (refusal := lease.alone.refusal()) is None:
                    self._spend(lease, 1)
                return refusal
            if lease.refusal is not None and now < lease.refused_at + min(lease.refusal.wait_s, _ASK_AGAIN_S):
                return lease.refusal._replace(wait_s=lease.refusal.wait_s - (now - lease.refused_at))
            # Not cancelled with this request: others wait for the same answer.
            await asyncio.shield(self._renew(name, lease))

    def charge(self, name: str, pictures: int) -> None:
        """Counts pictures without asking; the ledger hears of those beyond the block with the next question."""
        if (lease := self._leases.get(name)) is not None:
            self._spend(lease, pictures)

    def _lease(self, name: str, limits: Limits) -> _Lease:
        part = limits.part(self._replicas)
        if (lease := self._leases.get(name)) is None:
            lease = self._leases[name] = _Lease(limits, Quota(part, 0, self._clock, self._calendar))
        elif lease.limits != limits:
            lease.limits, lease.refusal = limits, None
            lease.alone.follow(part)
        return lease

    def _spend(self, lease: _Lease, pictures: int) -> None:
        now = self._clock()
        if now < lease.alone_until:
            lease.alone.charge(pictures)
            lease.debt += pictures
        else:
            lease.left -= pictures
        if (day := today(self._calendar)) != lease.day:
            lease.day, lease.used = day, 0
        lease.used = max(0, lease.used + pictures)  # what is given back may be yesterday's
        lease.spent_at = now

    def _renew(self, name: str, lease: _Lease, want: bool = True) -> asyncio.Task[None]:
        """Returns the running exchange of this key, or begins one."""
        if lease.exchange is None:
            lease.exchange = asyncio.get_running_loop().create_task(self._exchange(name, lease, want))
        return lease.exchange

    async def _exchange(self, name: str, lease: _Lease, want: bool) -> None:
        # Reports debts. Gives the rest back only if no more is wanted: requests use it during the exchange.
        returned = lease.left if lease.left < 0 or not want else 0
        lease.left -= returned
        debt, lease.debt = lease.debt, 0
        report = Report(lease.day, lease.used, lease.left, returned - debt)
        try:
            grant = await asyncio.wait_for(self._ask(name, lease.limits, report, want), ANSWER_S)
        except Exception as error:  # whatever it is, there is no ledger now
            lease.left += returned
            lease.debt += debt
            if not lease.alone_until:
                logger.warning("the ledger of the keys does not answer, each replica keeps to its part: %r", error)
            if want:
                lease.alone.resume(lease.used if lease.day == today(self._calendar) else 0)
                lease.alone_until = self._clock() + ALONE_S
        else:
            if lease.alone_until:
                logger.info("the ledger of the keys answers again")
            lease.alone_until = 0.0
            lease.left += grant.pictures
            if want:
                lease.block = max(1, grant.pictures)
                lease.refusal = grant.refusal and grant.refusal._replace(wait_s=max(_SOON_S, grant.refusal.wait_s))
                lease.refused_at = self._clock()
        finally:
            lease.exchange = None

    async def _return_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_S)
            idle_since = self._clock() - IDLE_S
            for name, lease in [*self._leases.items()]:
                if lease.left > 0 and lease.spent_at <= idle_since and lease.exchange is None:
                    await self._renew(name, lease, want=False)
