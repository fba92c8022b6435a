"""Compare: measures this service, mosec, LitServe, BentoML and NVIDIA PyTriton on this machine.

    python -m benchmarks.peers.compare CONFIG --json FILE [--servers azaion:2,mosec:1,mosec:2] [--connections 1,2,4,8]

One round measures the engine alone and the pipeline in process. Then it starts the servers one after the other: it
compares each one's answer with the pipeline's, warms it up, puts each load on it, and stops it. Ratios are taken within
a round, because absolute rates on a shared machine vary. If FILE exists, rounds are added to it, provided that machine,
commit and versions are the same. `python -m benchmarks.records.report FILE` makes tables and plots of it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from azaion_engine.model.file import sample_picture
from benchmarks.peers.servers import SERVERS, URL, Server, workers_of
from benchmarks.records.machine import machine, versions_in
from benchmarks.service.load import CORNERS, Box, Request, put_load
from benchmarks.service.processor_time import ProcessorTime

WARM_UP_S = 3
SETTLE_S = 20
"""Longest wait between two loads, seconds."""
SHARE_TRIES, SHARE_OFF = 4, 0.03
"""For `--share`: most attempts to reach the wanted rate, and the relative error at which it counts as reached."""
NEAR_PX = 1.0
"""Largest difference of a coordinate, pixels, at which two boxes count as the same."""


def measure_in_process(options: argparse.Namespace) -> dict[str, Any]:
    """Runs `benchmarks.library.in_process` in another process and returns its result without the machine."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        command = [sys.executable, "-m", "benchmarks.library.in_process", str(options.config), f"--json={file.name}"]
        command += [f"--seconds={options.seconds}"] + ([f"--picture={options.picture}"] if options.picture else [])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        result: dict[str, Any] = json.load(file)
    del result["machine"]
    return result


def measure_server(server: Server, picture: bytes, expected: list[Box], options: argparse.Namespace) -> dict[str, Any]:
    """Starts one server, puts every load on it, and returns the results.

    Raises:
        SystemExit: The server does not start, or its answer differs from the pipeline's.
    """
    request = server.request(picture)
    loads, begun = [], time.time()
    with server.running(picture, options.patience) as answer:
        boxes = server.boxes(answer)
        if difference := difference_of(boxes, expected):
            raise SystemExit(f"{server.name} answers wrongly: {difference}")
        _settle(put_load(URL, request, expected, max(options.connections), WARM_UP_S))
        for connections in options.connections:
            spent = ProcessorTime(begun)
            load = put_load(URL, request, expected, connections, options.seconds, options.wrk_threads)
            loads.append({**load, "processor_ms_per_picture": spent.per_picture(load["requests"])})
            _settle(load)
            _show(server, load)
        measured = {"server": server.name, "workers": server.workers, "loads": loads}
        if options.share:
            measured["at_share"] = _at_share(request, expected, loads, options)
            _show(server, measured["at_share"])
    return measured


def _at_share(
    request: Request, expected: list[Box], loads: list[dict[str, Any]], options: argparse.Namespace
) -> dict[str, Any]:
    """Puts on a load of about `options.share` of the saturated rate: many clients that pause before they ask again."""
    saturated = max(load["rate"] for load in loads)
    clients = max(options.connections)  # more clients would first have to open connections
    wanted = options.share * saturated
    # A client's cycle is its pause and the latency of an answer. That latency under this load is known only afterwards.
    answer_ms = min(load["p50_ms"] for load in loads)
    for _ in range(SHARE_TRIES):
        pause_ms = max(0.0, 1000 * clients / wanted - answer_ms)
        load = put_load(URL, request, expected, clients, options.seconds, options.wrk_threads, pause_ms)
        if abs(load["rate"] / wanted - 1) <= SHARE_OFF:
            break
        answer_ms = load["p50_ms"]
    return {**load, "pause_ms": round(pause_ms, 1), "share": round(load["rate"] / saturated, 3)}


def _show(server: Server, load: dict[str, Any]) -> None:
    shown = {key: value for key, value in load.items() if key != "requests"}
    print(f"{server.name} with {server.workers} workers: {json.dumps(shown)}", flush=True)


def _settle(load: dict[str, Any]) -> None:
    """Waits for requests that wrk abandoned, twice their estimated time: most servers do not drop them."""
    time.sleep(min(2 * load["connections"] / max(load["rate"], 0.1), SETTLE_S))


def difference_of(boxes: list[Box], expected: list[Box]) -> str:
    """Describes how two answers differ by more than `NEAR_PX`; empty if they do not. Order does not matter."""
    if len(boxes) != len(expected):
        return f"{len(boxes)} boxes instead of {len(expected)}"
    left = list(boxes)
    for box in expected:
        near = (
            other
            for other in left
            if other["class_id"] == box["class_id"] and all(abs(other[c] - box[c]) <= NEAR_PX for c in CORNERS)
        )
        found = next(near, None)
        if found is None:
            return f"no box like {dict(box)}"
        left.remove(found)
    return ""


def main() -> None:
    """Command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that `Server.running` stops the server
    options = _options()
    config = yaml.safe_load(options.config.read_text())
    picture = options.picture.read_bytes() if options.picture else sample_picture()
    servers = [server for spec in options.servers for server in _servers(spec, config)]
    record = _open_record(options, servers)
    for _ in range(options.rounds):
        in_process = measure_in_process(options)
        expected = in_process.pop("boxes")
        print(f"in process: {json.dumps(in_process)}", flush=True)
        measured = [measure_server(server, picture, expected, options) for server in servers]
        record["rounds"].append({"in_process": in_process, "boxes": len(expected), "servers": measured})
        if options.json:
            options.json.write_text(json.dumps(record, indent=2) + "\n")


def _servers(spec: str, config: dict[str, Any]) -> list[Server]:
    """Parses `name:workers`; a name alone stands for every number of `workers_of`."""
    name, _, workers = spec.partition(":")
    if name not in SERVERS:
        raise SystemExit(f"--servers: no server {name!r}; there are {', '.join(SERVERS)}")
    return [Server(name, config, count) for count in ([int(workers)] if workers else workers_of(config))]


def _open_record(options: argparse.Namespace, servers: list[Server]) -> dict[str, Any]:
    here = machine()
    versions = {server.name: versions_in(server.python()) for server in servers}
    if not (options.json and options.json.exists()):
        return {"machine": here, "versions": versions, "config": str(options.config), "rounds": []}
    record: dict[str, Any] = json.loads(options.json.read_text())
    for key in ("cpu", "cores", "gpu", "python", "packages", "commit"):
        if record["machine"][key] != here[key]:
            raise SystemExit(f"{options.json} was measured with {key} {record['machine'][key]}, this is {here[key]}")
    record["versions"].update(versions)
    return record


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="Serve config whose args every server shares, configs/cpu.yaml")
    parser.add_argument("--json", type=Path, help="where rounds are added")
    parser.add_argument(
        "--servers",
        type=lambda text: text.split(","),
        default=list(SERVERS),
        help="name:workers, workers being copies of the detector; default: all, each number that makes sense",
    )
    parser.add_argument("--connections", type=numbers, default=[1, 2, 4, 8], help="loads: closed-loop clients")
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--share", type=float, help="one more load, at this share of the saturated rate, e.g. 0.8")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="default: the first sample")
    parser.add_argument("--patience", type=float, default=900, help="seconds to wait for a first answer")
    parser.add_argument("--wrk-threads", type=int, default=1, help="of the load generator")
    return parser.parse_args()


if __name__ == "__main__":
    main()
