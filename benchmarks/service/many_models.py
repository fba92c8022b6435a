"""Many models on one host: how long until all are served, what each costs in memory, and whether each answers rightly.

python -m benchmarks.service.many_models [--models 20] [--loaded 3] [--cpus 2] [--json FILE]

Starts Ray and Serve itself, with tiny models of different weights on ONNX Runtime. Every model is asked through its own
route and by its name in the query; its boxes must be those that the library finds with the same file. With `--loaded`
all are rarely used: they share one replica, which loads so many at a time, and the first answers' waits are told.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import ray
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.model.file import sample_picture
from benchmarks.records.machine import machine
from deployments.app import build_catalog
from deployments.settings import ApplicationSettings
from tests.azaion_engine.models import make_detector

CONFIDENCE = 0.05
LIMIT_S = 1800.0


def measure(number: int, cpus: int, folder: Path, loaded: int | None = None) -> dict[str, Any]:
    """Serves the models, asks each, and ends.

    Args:
        number: Number of models.
        cpus: Ray's CPUs.
        folder: For their files.
        loaded: Models in memory at a time, which share one replica; None: each has a replica of its own.
    """
    rare: dict[str, Any] = {} if loaded is None else {"rarely_used": {"loaded": loaded}}
    picture = sample_picture()
    models: dict[str, dict[str, Any]] = {}
    expected: dict[str, Any] = {}
    for index in range(number):
        path = folder / f"model{index}.onnx"
        path.write_bytes(make_detector(seed=index))
        models[path.stem] = {"model": str(path), "rarely_used": bool(rare)}
        with Detector.open(model=str(path), engine="onnx", threads=1) as detector:
            [found] = detector.detect([picture], confidence=CONFIDENCE)
        expected[path.stem] = _rounded(found.to_dicts())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        settings = ApplicationSettings(models=models, engine="onnx", threads=1, cache_dir=folder / "cache", **rare)
        began = time.monotonic()
        serve.run(build_catalog(settings), name="many", route_prefix="/")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            while (ready := client.get("/readyz")).status_code != 200:
                if time.monotonic() - began > LIMIT_S:
                    raise SystemExit(f"not served within {LIMIT_S:g} s: {ready.text}")
                time.sleep(1)
            served_s = time.monotonic() - began
            listed = client.get("/models").json()["models"]
            first_s = sorted(_first_answer_s(client, name, picture) for name in models)
            wrong = [name for name in models if not _right(client, name, picture, expected[name])]
        sizes = sorted(_replicas())
        return {
            "models": number,
            "cpus_of_ray": cpus,
            "served": sum(model["state"] == "serving" for model in listed),
            "served_s": round(served_s, 1),
            "loaded_at_a_time": loaded or number,
            "first_answer_s": {"median": first_s[number // 2], "longest": first_s[-1]},
            "wrong": wrong,
            "replica_mib": {"median": sizes[len(sizes) // 2], "all": sum(sizes)},
        }
    finally:
        serve.shutdown()
        ray.shutdown()


def _first_answer_s(client: httpx.Client, name: str, picture: bytes) -> float:
    began = time.perf_counter()
    client.post(f"/models/{name}/detect", content=picture).raise_for_status()
    return round(time.perf_counter() - began, 3)


def _right(client: httpx.Client, name: str, picture: bytes, expected: Any) -> bool:
    answers = [
        client.post(f"/models/{name}/detect", params={"confidence": CONFIDENCE}, content=picture),
        client.post("/detect", params={"confidence": CONFIDENCE, "model": name}, content=picture),
    ]
    return all(
        answer.status_code == 200
        and answer.json()["model"]["name"] == name
        and _rounded(answer.json()["boxes"]) == expected
        for answer in answers
    )


def _rounded(boxes: list[dict[str, Any]]) -> list[Any]:
    return [[box["class_id"], *(round(box[key]) for key in ("x1", "y1", "x2", "y2"))] for box in boxes]


def _replicas() -> list[int]:
    """Returns the memory of each replica's process, MiB that it does not share with others."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            if "DetectorDeployment" in command or "MultiplexedDeployment" in command:
                found.append(process.memory_full_info().uss >> 20)
        except psutil.Error:
            continue
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--loaded", type=int, help="models of one replica that are in memory at a time")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = {"machine": machine(), **measure(options.models, options.cpus, Path(folder), options.loaded)}
    text = json.dumps(record, indent=2) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text)
    sys.exit(0 if record["served"] == options.models and not record["wrong"] else 1)


if __name__ == "__main__":
    main()
