"""`python -m tests.chaos`: every fault in both modes; prints a row for each and fails where a bar is missed."""

from __future__ import annotations

import signal
import sys

from tests.chaos import faults
from tests.chaos.clients import make_cases
from tests.chaos.rows import HEADER, bars, shut_down_from_elsewhere, stop_under_load, suffer
from tests.chaos.service import chaos_service

BOTH = (
    faults.kill_a_replica,
    faults.kill_all_replicas,
    faults.pause_a_replica,
    faults.take_the_descriptors,
    faults.fill_the_disks,
    faults.take_the_memory,
    faults.kill_the_proxy,
    faults.kill_the_controller,
    faults.deploy_again,
    faults.replace_the_model,
    faults.cut_the_model,
)


def main() -> int:
    """Prints the table; returns the number of missed bars."""
    missed: list[str] = []
    cases = make_cases("demo")
    for throughput in (True, False):
        print(f"\n{'throughput mode, HAProxy' if throughput else 'without throughput mode'}\n{HEADER}", flush=True)
        with chaos_service(throughput) as service:
            for fault in (*BOTH, *((faults.kill_the_proxys_manager,) if throughput else ())):
                row = suffer(service, cases, fault.__name__.replace("_", " "), fault)
                print(row.line(), flush=True)
                missed += bars(row)
                service.wait_until_ready()
        for number in (signal.SIGTERM, signal.SIGINT):
            with chaos_service(throughput) as service:
                row = stop_under_load(service, cases, number)
            print(row.line(), flush=True)
            missed += bars(row)
        with chaos_service(throughput) as service:
            row = shut_down_from_elsewhere(service, cases)
        print(row.line(), flush=True)
        missed += bars(row)
    print("\n" + ("\n".join(f"MISSED: {text}" for text in missed) or "every bar is held"))
    return len(missed)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
