"""Retry: which failures are retried, and how long to wait before each retry."""

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
"""Statuses that say that a later attempt may succeed."""

RETRIED_BREAKS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
)
"""The connection was refused, or broke before an answer was complete. Retrying a POST is safe: detection changes
nothing in the service, at worst a picture is processed twice. A timeout while the service works is not retried: that
would add the same work again."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after which waits a request is retried, always within the client's `timeout_s`.

    Attributes:
        retries: Attempts after the first; 0 switches retries off.
        first_wait_s: Upper bound of the random wait before the first retry; it doubles with each ("full jitter", as in
            "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). Added to Retry-After, if given, so that
            callers refused together do not retry together.
        longest_wait_s: Upper bound of any wait. If Retry-After is longer, there is no retry: the error is raised at
            once, with `retry_after_s`.
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
        """Returns the seconds left for the next attempt, never 0: HTTP libraries differ in what 0 means."""
        return max(self._deadline - time.monotonic(), 0.001)

    def wait_after(self, failure: ClientError) -> float | None:
        """Returns the seconds to wait before the next attempt; None: no retry."""
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

    A date is compared with the answer's own Date, if it has one: the clocks of client and service may differ.

    Returns:
        Seconds, 0 or more; None if the header is missing or malformed.
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
