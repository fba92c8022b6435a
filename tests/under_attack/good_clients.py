"""Good clients: each asks at fixed moments and checks every answer."""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import orjson

from tests.chaos.clients import CONFIDENCE, Case, _box

CLIENTS = 8
PERIOD_S = 0.5
"""Seconds between two requests of a client: the service has time to spare, so that only an attack slows it."""
WAIT_S = 5.0
"""Timeout of a request, seconds."""


@dataclass
class Seen:
    """What the good clients saw in a time.

    Attributes:
        seconds: How long they asked.
        right_s: Seconds that each right answer took, from the moment at which its request was due.
        others: What came instead.
    """

    seconds: float
    right_s: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return len(self.right_s) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """Returns a percentile of the right answers' times, milliseconds."""
        if len(self.right_s) < 2:
            return float("nan")
        return 1000 * statistics.quantiles(self.right_s, n=100, method="inclusive")[percent - 1]


def ask(port: int, cases: list[Case], seconds: float) -> Seen:
    """Lets the clients ask for a time."""
    seen = Seen(seconds)
    begun = time.monotonic()
    threads = [
        threading.Thread(target=_client, args=(port, cases[index], begun, PERIOD_S * index / CLIENTS, seen))
        for index in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _client(port: int, case: Case, begun: float, offset: float, seen: Seen) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    due = begun + offset
    while due < begun + seen.seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            connection.request("POST", f"/detect?confidence={CONFIDENCE}", case.picture)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                seen.others[str(response.status)] += 1
            elif (result := case.result([_box(box) for box in orjson.loads(body)["boxes"]])) == "right":
                seen.right_s.append(time.monotonic() - due)
            else:
                seen.others[result] += 1
        except (OSError, http.client.HTTPException) as error:
            seen.others[type(error).__name__] += 1
            connection.close()
        # A request that was late does not move those after it, but they are not sent all at once.
        due = max(due + PERIOD_S, time.monotonic())
    connection.close()
