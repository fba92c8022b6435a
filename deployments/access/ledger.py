"""Ledger: keeps rate and daily number of every key for several replicas, and lends them in blocks."""

from __future__ import annotations

import time
from typing import NamedTuple

from deployments.access.quota import Clock, Limits, Refusal, TokenBucket, today, until_tomorrow_s

BLOCK_S = 0.2
"""Seconds of a key's rate in one block: a replica asks about five times a second, however many requests it has."""

_BLOCK_WITHOUT_RATE = 100
_PARTS = 4
"""Each replica gets at most a quarter of what is left of a daily number, so that idle replicas hold little."""


class Report(NamedTuple):
    """What a replica did with what it got.

    Attributes:
        day: The day that `used` is about, as from `quota.today`.
        used: Pictures of that day, in this replica. A ledger that starts again counts on from it.
        kept: Pictures that it may still send.
        returned: Pictures that it got and will not send; below zero, those that it sent and had not got.
    """

    day: int
    used: int
    kept: int
    returned: int


class Grant(NamedTuple):
    """What a replica may send.

    Attributes:
        pictures: Number of pictures, in addition to those kept.
        refusal: Why there is none, if there is none.
    """

    pictures: int
    refusal: Refusal | None = None


class Ledger:
    """The accounts of all keys; one thread at a time."""

    def __init__(self, clock: Clock = time.monotonic, calendar: Clock = time.time) -> None:
        """Begins with full bursts.

        Args:
            clock: Seconds that never go back.
            calendar: Seconds since 1970, UTC.
        """
        self._clock, self._calendar = clock, calendar
        self._accounts: dict[str, _Account] = {}

    def exchange(self, replica: str, name: str, limits: Limits, report: Report, want: bool) -> Grant:
        """Settles what a replica did, and lends it a block.

        Args:
            replica: Its id.
            name: The key's.
            limits: The key's, as the replica has read them.
            report: What it did with earlier blocks.
            want: Whether it wants another.
        """
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _Account(self._clock)
        return account.exchange(replica, limits, report, want, self._calendar)


class _Account:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket: TokenBucket | None = None
        self._day = 0
        self._used: dict[str, int] = {}
        self._held: dict[str, int] = {}

    def exchange(self, replica: str, limits: Limits, report: Report, want: bool, calendar: Clock) -> Grant:
        if (day := today(calendar)) != self._day:
            self._day, self._used, self._held = day, {}, {}
        self._used[replica] = report.used if report.day == day else 0
        self._held[replica] = report.kept
        bucket = self._bucket_of(limits)
        if bucket is not None:
            bucket.take(-report.returned)
        if not want:
            return Grant(0)
        block = _BLOCK_WITHOUT_RATE if limits.rate is None else max(1, int(limits.rate * BLOCK_S))
        if limits.daily is not None:
            left = limits.daily - sum(self._used.values()) - sum(self._held.values())
            if left < 1:
                return Grant(0, Refusal(True, until_tomorrow_s(calendar)))
            block = min(block, max(1, left // (_PARTS * len(self._held))))
        if bucket is not None:
            if bucket.balance() < 1:
                return Grant(0, Refusal(False, bucket.wait_s()))
            block = min(block, int(bucket.balance()))
            bucket.take(block)
        self._held[replica] += block
        return Grant(block)

    def _bucket_of(self, limits: Limits) -> TokenBucket | None:
        if limits.rate is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = TokenBucket(limits.rate, limits.burst, self._clock)
        else:
            self._bucket.change(limits.rate, limits.burst)
        return self._bucket
