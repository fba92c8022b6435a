"""Quota: pictures that a key may still send now, by its rate (a token bucket) and its daily number."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

DAY_S = 86400
Clock = Callable[[], float]


class Limits(NamedTuple):
    """What a key may send.

    Attributes:
        rate: Pictures a second; None: any.
        burst: Pictures that may come at once, at least 1.
        daily: Pictures of one day in UTC; None: any.
    """

    rate: float | None
    burst: float
    daily: int | None

    def part(self, parts: int) -> Limits:
        """Returns an even part of these limits, of which every number is at least enough for one picture."""
        return Limits(
            self.rate and self.rate / parts,
            max(1.0, self.burst / parts),
            self.daily and max(1, self.daily // parts),
        )


class Refusal(NamedTuple):
    """Why a key may send nothing now.

    Attributes:
        daily: Whether the daily number is used up; else the rate is.
        wait_s: Seconds until another picture is accepted, if none comes before.
    """

    daily: bool
    wait_s: float


class TokenBucket:
    """Rate with bursts: holds up to `burst` tokens, which come back at `rate` a second.

    Its balance may go below zero: a request is accepted if there is one token, and all its pictures are taken off. So
    no request is refused in part, and the mean rate is kept.
    """

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._balance, self._at = burst, clock()

    def balance(self) -> float:
        """Returns the number of tokens now."""
        now = self._clock()
        self._balance = min(self._burst, self._balance + (now - self._at) * self._rate)
        self._at = now
        return self._balance

    def take(self, tokens: float) -> None:
        """Takes tokens, more than there are too; a negative number gives some back."""
        self._balance = min(self._burst, self.balance() - tokens)

    def change(self, rate: float, burst: float) -> None:
        """Changes rate and burst; what was taken stays taken."""
        self._balance = min(burst, self.balance() + max(0.0, burst - self._burst))
        self._rate, self._burst = rate, burst

    def wait_s(self) -> float:
        """Returns the seconds until there is one token."""
        return max(0.0, (1 - self.balance()) / self._rate)


def today(calendar: Clock = time.time) -> int:
    """Returns the number of the day in UTC, since 1970."""
    return int(calendar() // DAY_S)


def until_tomorrow_s(calendar: Clock = time.time) -> float:
    """Returns the seconds until the next day in UTC."""
    return DAY_S - calendar() % DAY_S


class Quota:
    """Limits of one key, kept in this process alone."""

    def __init__(
        self, limits: Limits, used_today: int = 0, clock: Clock = time.monotonic, calendar: Clock = time.time
    ) -> None:
        """Begins with a full burst.

        Args:
            limits: Rate, burst, daily number.
            used_today: Pictures of today that were sent before.
            clock: Seconds that never go back.
            calendar: Seconds since 1970, UTC.
        """
        self._clock, self._calendar = clock, calendar
        self._day, self._used = today(calendar), used_today
        self._limits = limits
        self._bucket = self._new_bucket()

    def follow(self, limits: Limits) -> None:
        """Takes over other limits; what was used stays used."""
        if limits == self._limits:
            return
        self._limits = limits
        if self._bucket is None or limits.rate is None:
            self._bucket = self._new_bucket()
        else:
            self._bucket.change(limits.rate, limits.burst)

    def resume(self, used_today: int) -> None:
        """Replaces the number of today's pictures, which were counted elsewhere meanwhile."""
        self._day, self._used = today(self._calendar), used_today

    def refusal(self) -> Refusal | None:
        """Returns why no picture may come now; None if one may."""
        if self._limits.daily is not None and self._used_today() >= self._limits.daily:
            return Refusal(True, until_tomorrow_s(self._calendar))
        if self._bucket is not None and self._bucket.balance() < 1:
            return Refusal(False, self._bucket.wait_s())
        return None

    def charge(self, pictures: int) -> None:
        """Counts pictures, more than are available too; a negative number gives some back."""
        self._used = max(0, self._used_today() + pictures)  # what is given back may be yesterday's
        if self._bucket is not None:
            self._bucket.take(pictures)

    def _used_today(self) -> int:
        day = today(self._calendar)
        if day != self._day:
            self._day, self._used = day, 0
        return self._used

    def _new_bucket(self) -> TokenBucket | None:
        rate = self._limits.rate
        return None if rate is None else TokenBucket(rate, self._limits.burst, self._clock)
