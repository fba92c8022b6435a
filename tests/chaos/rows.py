"""Row: one fault under load, and what the clients saw of it."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import faults
from tests.chaos.clients import Case, Load, Outcome
from tests.chaos.service import ChaosService

BEFORE_S, CALM_S = 2.0, 3.0
"""Seconds of load before a fault, and of right answers alone after which the service is well."""


@dataclass
class Row:
    """What the clients saw.

    Attributes:
        fault: Its name.
        outcomes: All requests.
        at: When the fault began, on the monotonic clock.
        slowest_probe_s: Longest wait for `/readyz`, seconds.
        end: Exit code, and names of the processes that were left, if the service was ended.
    """

    fault: str
    outcomes: list[Outcome]
    at: float
    slowest_probe_s: float = 0.0
    end: tuple[int | None, list[str]] | None = None

    @property
    def right(self) -> int:
        """Number of right answers."""
        return sum(outcome.result == "right" for outcome in self.outcomes)

    @property
    def wrong(self) -> int:
        """Number of answers with other boxes."""
        return sum(outcome.result == "wrong" for outcome in self.outcomes)

    @property
    def lost(self) -> list[str]:
        """What `azaion_client` raised."""
        return [o.result for o in self.outcomes if o.retries and o.result not in ("right", "wrong")]

    @property
    def refused(self) -> Counter[str]:
        """What the plain clients got instead of boxes."""
        return Counter(o.result for o in self.outcomes if not o.retries and o.result not in ("right", "wrong"))

    @property
    def seconds_until_well(self) -> float:
        """Seconds from the fault to the first right answer after the last failure of a plain client."""
        plain = [o for o in self.outcomes if not o.retries and o.ended >= self.at]
        failed = max((o.ended for o in plain if o.result != "right"), default=self.at)
        begun_after = min((o.ended for o in plain if o.result == "right" and o.begun >= failed), default=float("inf"))
        return begun_after - self.at if failed > self.at else max(0.0, self._longest_gap())

    def _longest_gap(self) -> float:
        ends = sorted(o.ended for o in self.outcomes if o.result == "right" and o.ended >= self.at)
        return max((b - a for a, b in zip([self.at, *ends], ends, strict=False)), default=float("inf"))

    def line(self) -> str:
        """Returns the row as text."""
        words = [f"{self.fault:34} {len(self.outcomes):5} {self.right:5} {self.wrong:5} {len(self.lost):4}"]
        words.append(f"{sum(self.refused.values()):7} {self.seconds_until_well:6.1f} {self.slowest_probe_s:6.2f}")
        told = [f"{count} × {result}" for result, count in self.refused.most_common(4)]
        return " ".join(words) + "  " + "; ".join([*self.faulty_end(), *told])

    def faulty_end(self) -> list[str]:
        """Returns what is wrong with the end of the service; empty if it was not ended."""
        if self.end is None:
            return []
        code, left = self.end
        texts = [] if code == 0 else [f"exit code {code}"]
        texts += [f"left running: {', '.join(left)}"] if left else []
        return texts + ([f"cut: {dict(self.refused)}"] if self.refused else [])


PROXY_S = 8.0
"""Seconds within which a killed proxy must answer again."""

HEAD_S = 60.0
"""Seconds within which a service answers again whose head node died and was started again after ten."""

HEADER = f"{'fault':34} {'sent':>5} {'right':>5} {'wrong':>5} {'lost':>4} {'refused':>7} {'well s':>6} {'probe':>6}"
"""`lost`: requests of azaion_client; `refused`: of the clients without retry; `probe`: longest wait for /readyz."""


def suffer(
    service: ChaosService, cases: list[Case], name: str, fault: Callable[[ChaosService], None], most_s: float = 60
) -> Row:
    """Runs a fault under load, until the service has been well for `CALM_S` and has all replicas again."""
    with Load(service.url, cases) as load:
        time.sleep(BEFORE_S)
        at = time.monotonic()
        fault(service)
        slowest = 0.0
        calm_since = time.monotonic()
        while time.monotonic() - calm_since < CALM_S and time.monotonic() - at < most_s:
            status, seconds = service.ready()
            slowest = max(slowest, seconds if status else 0.0)
            latest = [o for o in load.outcomes[-16:] if o.ended > time.monotonic() - 1]
            whole = len(service.named("ray::ServeReplica")) == service.replicas and status == 200
            if not (whole and latest and all(o.result == "right" for o in latest)):
                calm_since = time.monotonic()
            time.sleep(0.1)
    return Row(name, load.outcomes, at, slowest)


def stop_under_load(service: ChaosService, cases: list[Case], number: signal.Signals) -> Row:
    """Ends a service under load by a signal; the row has the requests that were in flight then, and those before."""
    with Load(service.url, cases) as load:
        time.sleep(BEFORE_S)
        at = time.monotonic()
        code, left = service.stop(number)
        load.leave(at)
    # What the clients ask from the signal on is nobody's to answer.
    return Row(f"{number.name}, what was accepted", [o for o in load.outcomes if o.begun < at], at, end=(code, left))


def shut_down_from_elsewhere(service: ChaosService, cases: list[Case]) -> Row:
    """Ends Serve by another process, under load; `azaion serve` has to end too."""
    with Load(service.url, cases) as load:
        time.sleep(BEFORE_S)
        at = time.monotonic()
        faults.shut_serve_down(service)
        load.leave(at)
    accepted = [o for o in load.outcomes if o.begun < at]
    return Row("serve shutdown, what was accepted", accepted, at, end=service.ended())


def bars(row: Row) -> list[str]:
    """Returns what a row misses."""
    texts = []
    if row.wrong:
        texts.append(f"{row.fault}: {row.wrong} wrong answers")
    if "the head" in row.fault:  # away for longer than `azaion_client` waits, on a machine with one HAProxy
        if row.seconds_until_well > HEAD_S:
            texts.append(f"{row.fault}: {row.seconds_until_well:.1f} s until well, at most {HEAD_S:g}")
    elif row.lost:
        texts.append(f"{row.fault}: azaion_client lost {len(row.lost)}: {row.lost[0]}")
    if "proxy" in row.fault and row.seconds_until_well > PROXY_S:
        texts.append(f"{row.fault}: {row.seconds_until_well:.1f} s until well, at most {PROXY_S:g}")
    if "all replicas" in row.fault and row.slowest_probe_s > 1:
        texts.append(f"{row.fault}: /readyz took {row.slowest_probe_s:.2f} s")
    if "the GCS" in row.fault and row.refused:
        texts.append(f"{row.fault}: the replicas answer without it, but {dict(row.refused)}")
    texts += [f"{row.fault}: {note}" for note in row.faulty_end()]
    return texts
