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

RETRIED_STATUSES = frozenset({408, 429, 503})
"""Statuses that say that a later attempt may succeed. 408: the body did not arrive, so the request was not
processed, and may be repeated on a new connection (RFC 9110, 15.5.9)."""

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


AWAY_STATUSES = frozenset({408, 500, 502, 503, 504})
"""Statuses that a proxy answers while replicas die, start or restart. Only where the answer is not in the service's own
error shape: its own 500 and 504 come from the request itself. Serve's 500: a replica died under the request; 408: no
replica took it in time; 502, 503, 504: HAProxy or another proxy had none."""

NOT_READY = "not_ready"
"""Code of the 503 that the service's own proxy answers while no replica does."""

AWAY_WAIT_S = 2.0
"""Upper bound of a wait for a service that is away, seconds: it is back within seconds, and a request costs it little
until then."""


def is_away(status: int, text: str) -> bool:
    """Returns whether an answer that is not in the service's error shape says that the service is away.

    Args:
        status: HTTP status.
        text: The answer's text. Ray Serve and its HAProxy answer 404 with `Path '…' not found` until they know the
            service again after a restart; any other 404 is a wrong address.
    """
    return status in AWAY_STATUSES or (status == 404 and text.startswith("Path '") and "not found" in text)


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
        outage_s: Seconds for which a service that is away is tried again, however many attempts that takes: the
            connection is refused or breaks, or a proxy answers for it. A proxy or replica that died is replaced in
            seconds. Without effect if `retries` is 0.
    """

    retries: int = 5
    first_wait_s: float = 0.25
    longest_wait_s: float = 30.0
    outage_s: float = 30.0


class Attempts:
    """The attempts of one call: counts them and keeps its deadline."""

    def __init__(self, policy: RetryPolicy, timeout_s: float) -> None:
        self._policy = policy
        self._deadline = time.monotonic() + timeout_s
        self._repeats = 0
        self._away_since: float | None = None
        self._away_repeats = 0

    def seconds_left(self) -> float:
        """Returns the seconds left for the next attempt, never 0: HTTP libraries differ in what 0 means."""
        return max(self._deadline - time.monotonic(), 0.001)

    def wait_after(self, failure: ClientError, away: bool = False) -> float | None:
        """Returns the seconds to wait before the next attempt; None: no retry.

        Args:
            failure: The outcome of the attempt.
            away: Whether the service is away, and did not refuse the request itself.
        """
        now = time.monotonic()
        asked = failure.retry_after_s if isinstance(failure, RequestFailedError) else None
        if away:
            self._away_since = now if self._away_since is None else self._away_since
            allowed = self._policy.retries > 0 and now - self._away_since < self._policy.outage_s
            bound = min(self._backoff(self._away_repeats), AWAY_WAIT_S)
        else:
            self._away_since, self._away_repeats = None, 0
            allowed = self._repeats < self._policy.retries
            bound = self._backoff(self._repeats)
        wait = min((asked or 0) + random.uniform(0, bound), self._policy.longest_wait_s)
        if not allowed or wait < (asked or 0) or now + wait >= self._deadline:
            return None
        if away:
            self._away_repeats += 1
            logger.info("%s; the service is away, repeat %d in %.2f s", failure, self._away_repeats, wait)
        else:
            self._repeats += 1
            logger.info("%s; repeat %d of %d in %.2f s", failure, self._repeats, self._policy.retries, wait)
        return wait

    def _backoff(self, repeats: int) -> float:
        return min(self._policy.first_wait_s * 2.0 ** min(repeats, 32), self._policy.longest_wait_s)


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
