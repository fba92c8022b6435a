"""Soak: measures whether the memory of replicas and GPU grows over many requests.

    python -m benchmarks.peers.soak CONFIG --json FILE [--requests 100000] [--connections 64]
        [--server azaion-throughput:1]

wrk posts one picture again and again, and every answer is checked. The last measurement of memory is compared with the
first, which is made after 1 % of the requests.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from azaion_engine.model.file import sample_picture
from benchmarks.peers.servers import URL, Server
from benchmarks.records.machine import machine
from benchmarks.service.load import put_load
from benchmarks.service.processor_time import ENGINE_HOST, process_name

FIRST = 0.01
"""Share of all requests after which memory is measured for the first time."""
BAR = 1.02
"""Target: largest ratio of the last measurement to the first."""
LOAD_S = 5
"""Seconds of load between two measurements."""


def replica_bytes() -> int:
    """Returns the resident memory of all replicas and of the host of their shared engine, if there is one."""
    total = 0
    for process in psutil.process_iter(["cmdline"]):
        try:
            if process_name(process.info["cmdline"] or []).startswith(("ray::ServeReplica", ENGINE_HOST)):
                total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def gpu_bytes() -> int | None:
    """Returns the memory in use on all GPUs of the machine; None without NVML."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package or no driver: a machine without a GPU
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return sum(int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles)
    finally:
        pynvml.nvmlShutdown()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--server", default="azaion-throughput:1", help="name:workers, as benchmarks.peers.compare has them"
    )
    parser.add_argument("--picture", type=Path, help="default: the first sample")
    parser.add_argument("--patience", type=float, default=900, help="seconds to wait for a first answer")
    options = parser.parse_args()
    name, _, workers = options.server.partition(":")
    server = Server(name, yaml.safe_load(options.config.read_text("utf-8")), int(workers or 1))
    picture = options.picture.read_bytes() if options.picture else sample_picture()
    request, begun = server.request(picture), time.time()
    done = errors = 0
    looked: list[dict[str, Any]] = []
    with server.running(picture, options.patience) as answer:
        expected = server.boxes(answer)
        while done < options.requests:
            load = put_load(URL, request, expected, options.connections, LOAD_S)
            done, errors = done + load["requests"], errors + load["errors"]
            if not looked and done < FIRST * options.requests:
                continue
            looked.append({"requests": done, "host_bytes": replica_bytes(), "gpu_bytes": gpu_bytes()})
            print(json.dumps({**looked[-1], "errors": errors, "rate": load["rate"]}), flush=True)
    first, last = looked[0], looked[-1]
    growth = {kind: round(last[kind] / first[kind], 4) for kind in ("host_bytes", "gpu_bytes") if first[kind]}
    result = {
        "machine": machine(),
        "server": options.server,
        "seconds": round(time.time() - begun),
        "errors": errors,
        "looked": looked,
        "growth": growth,
        "bar": {"aim": BAR, "met": all(value <= BAR for value in growth.values())},
    }
    print(json.dumps({key: result[key] for key in ("errors", "growth", "bar")}))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
