"""Serve record: starts `serve run CONFIG`, posts the sample pictures, and records the answers and their times.

    python -m benchmarks.service.serve_record CONFIG --json FILE [--requests 50]

Each request is sent after the answer to the one before.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from azaion_engine.model.file import SAMPLES, sample_picture
from benchmarks.records.machine import machine


def wait_until_ready(url: str, process: subprocess.Popen[bytes], seconds: float) -> float:
    """Returns the seconds until /readyz answers 200.

    Raises:
        SystemExit: `serve run` ended, or was not ready in time.
    """
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        if process.poll() is not None:
            raise SystemExit(f"serve run ended with {process.returncode}")
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return time.perf_counter() - begun
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"not ready within {seconds:g} s")


def ask(url: str, requests: int) -> dict[str, Any]:
    """Posts each sample once, then the first one `requests` times; returns the answers and the latencies."""
    results: dict[str, Any] = {"model": httpx.get(f"{url}/model").json()}
    with httpx.Client(base_url=url, timeout=60) as client:
        first_ms = 0.0
        for name in SAMPLES:
            begun = time.perf_counter()
            answer = client.post("/detect", content=sample_picture(name)).raise_for_status().json()
            first_ms = first_ms or (time.perf_counter() - begun) * 1000
            counts: dict[str, int] = {}
            for box in answer["boxes"]:
                counts[box["class_name"]] = counts.get(box["class_name"], 0) + 1
            results[name] = {"boxes": counts, "first_box": answer["boxes"][0], "timing_ms": answer["timing_ms"]}
        took = []
        for _ in range(requests):
            begun = time.perf_counter()
            client.post("/detect", content=sample_picture()).raise_for_status()
            took.append((time.perf_counter() - begun) * 1000)
    results["lone_request_ms"] = {
        "first": round(first_ms, 1),
        "first_over_p50": round(first_ms / statistics.median(took), 2),
        "p50": round(statistics.median(took), 1),
        "max": round(max(took), 1),
    }
    return results


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--patience", type=float, default=900, help="seconds to wait for an engine to be built")
    options = parser.parse_args()
    port = yaml.safe_load(options.config.read_text())["http_options"]["port"]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "ray.serve.scripts", "run", str(options.config)])
    try:
        ready = wait_until_ready(url, process, options.patience)
        record = {
            "machine": machine(),
            "config": yaml.safe_load(options.config.read_text()),
            "start_to_ready_s": round(ready, 1),
            **ask(url, options.requests),
        }
        # Written before the service is stopped: a failed stop must not lose the record.
        options.json.write_text(json.dumps(record, indent=2) + "\n")
        print(json.dumps(record, indent=2))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
