"""Retries: which failures are worth another attempt, and how long to wait for it."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime

import httpx

from azaion_client.errors import ClientError, RequestFailedError

logger = logging.getLogger("azaion_client")

RETRIED_STATUSES = frozenset({429, 503})
"""The service said that a later attempt may succeed."""

RETRIED_BREAKS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
)
"""The connection was refused, or broke before an answer was complete. Repeating a POST is safe here: detection changes
nothing in the service, at worst a picture is looked at twice. A time-out while the service works is not among them: it
would get the same work again on top."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a request is repeated, always within the client's `timeout_s`.

    Attributes:
        retries: Attempts after the first; 0 switches repeating off.
        first_wait_s: Bound of the random wait before the first repeat; it doubles with each ("full jitter", as in
            "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). Added to Retry-After where there is one, so
            that callers refused together do not return together.
        longest_wait_s: Bound of any wait. A service that wants a longer one is not asked again: the error goes to the
            caller at once, with `retry_after_s`.
    """

    retries: int = 5
    first_wait_s: float = 0.25
    longest_wait_s: float = 30.0


class Attempts:
    """The attempts of one call: counts them and keeps its deadline."""

    def __init__(self, policy: RetryPolicy, timeout_s: float) -> None:
        self._policy = policy
        self._deadline = time.monotonic() + timeout_s
        self._repeats = 0

    def seconds_left(self) -> float:
        """Returns what is left for the next attempt, more than zero: HTTP libraries read zero in various ways."""
        return max(self._deadline - time.monotonic(), 0.001)

    def wait_after(self, failure: ClientError) -> float | None:
        """Returns the seconds to wait before the next attempt; None: there shall be none."""
        if self._repeats >= self._policy.retries:
            return None
        asked = failure.retry_after_s if isinstance(failure, RequestFailedError) else None
        jitter = random.uniform(0, min(self._policy.first_wait_s * 2**self._repeats, self._policy.longest_wait_s))
        wait = min((asked or 0) + jitter, self._policy.longest_wait_s)
        if wait < (asked or 0) or time.monotonic() + wait >= self._deadline:
            return None
        self._repeats += 1
        logger.info("%s; repeat %d of %d in %.2f s", failure, self._repeats, self._policy.retries, wait)
        return wait


def retry_after(headers: httpx.Headers) -> float | None:
    """Reads Retry-After, whole seconds or an HTTP date (RFC 9110, 10.2.3).

    A date is compared with the answer's own Date, where it has one: the two clocks may differ.

    Returns:
        Seconds, 0 or more; None without the header or when it is neither.
    """
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    then = _timestamp(text)
    now = _timestamp(headers.get("date", ""))
    return None if then is None else max(0.0, then - (time.time() if now is None else now))


def _timestamp(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # An HTTP date is always in GMT; the asctime form does not say so.
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
