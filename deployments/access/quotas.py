"""Quotas: the limits of every key, as one replica keeps them; here for a replica that has no other beside it."""

from __future__ import annotations

from typing import Protocol

from deployments.access.quota import Limits, Quota, Refusal


class Quotas(Protocol):
    """Rate and daily number of every key; used from one event loop."""

    async def take(self, name: str, limits: Limits) -> Refusal | None:
        """Counts a picture, or returns why the key may send none now."""
        ...

    def charge(self, name: str, pictures: int) -> None:
        """Counts pictures without asking, e.g. the others of a request; a negative number gives some back."""
        ...


class LoneQuotas:
    """`Quotas` of the only replica."""

    def __init__(self) -> None:
        self._quotas: dict[str, Quota] = {}

    async def take(self, name: str, limits: Limits) -> Refusal | None:
        """Counts a picture, or returns why the key may send none now."""
        if (quota := self._quotas.get(name)) is None:
            quota = self._quotas[name] = Quota(limits)
        quota.follow(limits)
        if (refusal := quota.refusal()) is None:
            quota.charge(1)
        return refusal

    def charge(self, name: str, pictures: int) -> None:
        """Counts pictures without asking."""
        if (quota := self._quotas.get(name)) is not None:
            quota.charge(pictures)
