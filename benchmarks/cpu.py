"""Measures what the service costs on a CPU: pictures per second over HTTP against the bare session in process.

    python -m benchmarks.cpu [--json FILE] [--seconds 20] [--rounds 3]

In turns within one run, on the demo model and its first sample: the bare ONNX Runtime session with the same decode
(one picture after the other, decode included), and `serve run` of configs/cpu.yaml under two closed-loop HTTP clients
(so that one picture can be decoded while another is run). Every answer is checked. On a shared machine only the ratio
means something.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from azaion_engine import Detector
from azaion_engine.model_file import sample_picture
from benchmarks.machine import machine
from benchmarks.serve_record import wait_until_ready

URL = "http://127.0.0.1:8000"
CLIENTS = 2


def bare_session(seconds: float) -> tuple[float, int]:
    """Returns (pictures per second, boxes) of decode, letterbox and session in a plain loop."""
    picture, done = sample_picture(), 0
    with Detector.open(engine="onnx") as detector:
        detector.warm_up()
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            [found] = detector.detect(picture)
            done += 1
        return done / (time.perf_counter() - begun), len(found)


def over_http(seconds: float, boxes: int) -> dict[str, Any]:
    """Returns rate and latencies of closed-loop clients; a wrong answer ends the run."""
    picture = sample_picture()
    took: list[float] = []
    failures: list[str] = []
    end = time.perf_counter() + seconds

    def client() -> None:
        with httpx.Client(base_url=URL, timeout=60) as http:
            while time.perf_counter() < end:
                begun = time.perf_counter()
                response = http.post("/detect", content=picture)
                if response.status_code != 200 or len(response.json()["boxes"]) != boxes:
                    failures.append(response.text[:200])
                    return
                took.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"wrong answer: {failures[0]}")
    ordered = sorted(took)
    return {
        "rate": len(took) / (time.perf_counter() - begun),
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)] * 1000, 1),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    command = [sys.executable, "-m", "ray.serve.scripts", "run", "configs/cpu.yaml"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rounds = []
    try:
        wait_until_ready(URL, process, 120)
        for _ in range(options.rounds):
            bare, boxes = bare_session(options.seconds)
            http = over_http(options.seconds, boxes)
            rounds.append({"bare_rate": round(bare, 2), **http, "ratio": round(http["rate"] / bare, 3)})
            print(json.dumps(rounds[-1]), flush=True)
    finally:
        process.terminate()
        process.wait(60)
    ratio = statistics.median(r["ratio"] for r in rounds)
    print(f"\n| HTTP over the bare session, median of {len(rounds)} | {ratio:.3f} |")
    if options.json:
        record = {"machine": machine(), "rounds": rounds, "median_ratio": ratio}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
