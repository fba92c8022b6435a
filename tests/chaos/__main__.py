"""`python -m tests.chaos`: every fault in both modes; prints a row for each and fails where a bar is missed."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from azaion_engine.model.file import ModelFile
from tests.chaos import faults
from tests.chaos.clients import Case, Load, make_cases
from tests.chaos.rows import HEADER, Row, suffer
from tests.chaos.service import chaos_service

PROXY_S = 8.0
"""Seconds within which a killed proxy must answer again."""

BOTH = (
    faults.kill_a_replica,
    faults.kill_all_replicas,
    faults.pause_a_replica,
    faults.kill_the_proxy,
    faults.kill_the_controller,
    faults.deploy_again,
    faults.replace_the_model,
    faults.cut_the_model,
)


def stop_under_load(throughput: bool, number: signal.Signals, cases: list[Case]) -> tuple[Row, int | None, list[str]]:
    """Ends a service under load by a signal.

    Returns:
        The row of the requests that were in flight, the exit code, and the processes that were left.
    """
    with chaos_service(throughput) as service:
        with Load(service.url, cases) as load:
            time.sleep(2)
            at = time.monotonic()
            stopped = service.stop(number)
            # What the clients ask from now on is nobody's; those with retry would ask for half a minute.
            in_flight = [o for o in [*load.outcomes] if o.begun < at]
        in_flight = [o for o in load.outcomes if o.begun < at]
    return Row(f"{number.name}, requests in flight", in_flight, at), *stopped


def main() -> int:
    """Prints the table; returns the number of missed bars."""
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "chaos.onnx"
        model.write_bytes(ModelFile.read("demo").data)
        cases = make_cases(str(model))
    for throughput in (True, False):
        print(f"\n{'throughput mode, HAProxy' if throughput else 'without throughput mode'}\n{HEADER}", flush=True)
        with chaos_service(throughput) as service:
            for fault in (*BOTH, *((faults.kill_the_proxys_manager,) if throughput else ())):
                row = suffer(service, cases, fault.__name__.replace("_", " "), fault)
                print(row.line(), flush=True)
                missed += bars(row, "proxy" in row.fault)
                service.wait_until_ready()
        for number in (signal.SIGTERM, signal.SIGINT):
            row, code, left = stop_under_load(throughput, number, cases)
            row.notes.append(f"exit code {code}, left: {', '.join(left) or 'nothing'}")
            print(row.line(), flush=True)
            missed += bars(row, proxy=False)
            if code != 0 or left or row.refused:
                missed.append(f"{row.fault}: exit code {code}, left {left}, refused {dict(row.refused)}")
    print("\n" + ("\n".join(f"MISSED: {text}" for text in missed) or "every bar is held"))
    return len(missed)


def bars(row: Row, proxy: bool) -> list[str]:
    """Returns what a row misses."""
    texts = []
    if row.wrong:
        texts.append(f"{row.fault}: {row.wrong} wrong answers")
    if row.lost:
        texts.append(f"{row.fault}: azaion_client lost {len(row.lost)}: {row.lost[0]}")
    if proxy and row.seconds_until_well > PROXY_S:
        texts.append(f"{row.fault}: {row.seconds_until_well:.1f} s until well, at most {PROXY_S:g}")
    if "all replicas" in row.fault and row.slowest_probe_s > 1:
        texts.append(f"{row.fault}: /readyz took {row.slowest_probe_s:.2f} s")
    return texts


if __name__ == "__main__":
    sys.exit(min(main(), 1))
