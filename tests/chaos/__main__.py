"""`python -m tests.chaos`: every fault in both modes; prints a row for each and fails where a bar is missed.

`--only "kill all replicas" --replicas 8 --trials 10` tries some faults alone, with more replicas, and repeatedly.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator

from tests.chaos import faults
from tests.chaos.clients import Case, make_cases
from tests.chaos.gcs import cluster_with_redis, has_redis
from tests.chaos.rows import HEADER, Row, bars, shut_down_from_elsewhere, stop_under_load, suffer
from tests.chaos.service import ON_THE_CPU, chaos_service

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
MODES = {"throughput": "throughput mode, HAProxy", "proxy": "without throughput mode"}


def faults_of_a_mode(throughput: bool, cases: list[Case], options: argparse.Namespace) -> Iterator[Row]:
    """Yields a row for each fault that one service suffers."""
    chosen = {fault.__name__.replace("_", " "): fault for fault in BOTH}
    if throughput:
        chosen["kill the proxys manager"] = faults.kill_the_proxys_manager
    if options.only:
        chosen = {name: fault for name, fault in chosen.items() if name in options.only}
    if chosen:
        with chaos_service(throughput, **{**ON_THE_CPU, "cpu_replicas": options.replicas}) as service:
            for name, fault in chosen.items():
                for _ in range(options.trials):
                    yield suffer(service, cases, name, fault)
                    service.wait_until_ready()


def ends_of_a_mode(throughput: bool, cases: list[Case]) -> Iterator[Row]:
    """Yields a row for each way to end a service."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with chaos_service(throughput) as service:
            yield stop_under_load(service, cases, number)
    with chaos_service(throughput) as service:
        yield shut_down_from_elsewhere(service, cases)


def losses_of_the_gcs(cases: list[Case]) -> Iterator[Row]:
    """Yields what a cluster with a Redis suffers when its GCS or its head node dies, and whether it heals then."""
    with cluster_with_redis() as cluster:
        yield suffer(cluster, cases, "kill the GCS, again after 10 s", lambda _: cluster.kill_the_gcs(), 120)
        yield suffer(cluster, cases, "then kill a replica", faults.kill_a_replica, 90)
        yield suffer(cluster, cases, "kill the head, again after 10 s", lambda _: cluster.kill_the_head_node(), 150)
        yield suffer(cluster, cases, "then kill a replica", faults.kill_a_replica, 90)


def main() -> int:
    """Prints the table; returns the number of missed bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="FAULT", help="names of the table; `gcs`: those of the GCS")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--trials", type=int, default=1, help="of each fault")
    options = parser.parse_args()
    missed: list[str] = []
    cases = make_cases("demo")

    def show(title: str, rows: Iterator[Row]) -> None:
        for number, row in enumerate(rows):
            print(("" if number else f"\n{title}\n{HEADER}\n") + row.line(), flush=True)
            missed.extend(bars(row))

    for mode in options.modes:
        show(MODES[mode], faults_of_a_mode(mode == "throughput", cases, options))
        if not options.only:
            show(f"{MODES[mode]}, the end", ends_of_a_mode(mode == "throughput", cases))
    if not options.only or "gcs" in options.only:
        if has_redis():
            show("throughput mode, two nodes and a Redis", losses_of_the_gcs(cases))
        else:
            print("\nthe loss of the GCS was not tried: no redis-server here (apt install redis-server)")
    print("\n" + ("\n".join(f"MISSED: {text}" for text in missed) or "every bar is held"))
    return len(missed)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
