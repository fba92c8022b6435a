"""A swap under load: what clients see while `azaion deploy` brings a new version to a running service.

python -m benchmarks.service.swap NAME NEW.onnx [--url http://127.0.0.1:8000] [--clients 8] [--json FILE]

The service runs already, with `models` in its configuration, on this machine. Clients send one picture in a closed
loop, each on a connection of its own: some seconds before the deployment, while the new engine is built and checked,
and some seconds after. Every answer must have the name of the model, one of the two versions, and the boxes that the
first answer of that version had: in FP16, batches of other sizes may move a box a little, and change its confidence.
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
from typing import Any, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray

from azaion_engine.model.file import ModelFile, sample_picture
from benchmarks.records.machine import machine

CONFIDENCE, SURE = 0.5, 0.55
"""Confidence of the boxes that are asked for, and of those that must be in every answer."""
TOLERANCE_PX = 2.0
"""Largest difference of a coordinate of the same box, pixels of the picture."""

_COLUMNS = ("x1", "y1", "x2", "y2", "confidence", "class_id")

QUIET_S = 10.0
"""Seconds of load before and after the deployment."""


class Answered(NamedTuple):
    """One request.

    Attributes:
        began: Seconds since the beginning of the load.
        seconds: Until its answer.
        version: That it names; empty if the request failed.
        fault: What was wrong with it; empty if nothing.
    """

    began: float
    seconds: float
    version: str
    fault: str


def same_boxes(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> bool:
    """Returns whether each of two answers has all boxes of which the other one is sure.

    Args:
        ours: `[n, 6]`: x1, y1, x2, y2 in pixels of the picture, confidence, class.
        theirs: Likewise.
    """
    return _has_sure(ours, theirs) and _has_sure(theirs, ours)


def _has_sure(rows: NDArray[np.float32], of: NDArray[np.float32]) -> bool:
    sure = of[of[:, 4] >= SURE]
    apart = np.abs(sure[:, None, :4] - rows[None, :, :4]).max(axis=2)
    apart[sure[:, None, 5] != rows[None, :, 5]] = np.inf
    return bool((apart.min(axis=1, initial=np.inf) <= TOLERANCE_PX).all())


class Load:
    """Closed-loop clients of one model."""

    def __init__(self, url: str, name: str, versions: set[str], clients: int) -> None:
        """Starts the clients.

        Args:
            url: Address of the service.
            name: Name of the model.
            versions: Versions that may answer.
            clients: Their number.
        """
        self.answers: list[Answered] = []
        self._url = f"{url}/models/{name}/detect"
        self._name, self._versions = name, versions
        self._picture = sample_picture()
        self._boxes: dict[str, NDArray[np.float32]] = {}
        self._over = threading.Event()
        self._start = time.monotonic()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def now(self) -> float:
        """Returns the seconds since the beginning."""
        return time.monotonic() - self._start

    def end(self) -> None:
        """Ends the clients after their last answers."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=120) as client:
            while not self._over.is_set():
                began = self.now()
                version, fault = "", ""
                try:
                    answer = client.post(self._url, params={"confidence": CONFIDENCE}, content=self._picture)
                    version, fault = self._checked(answer)
                except httpx.HTTPError as error:
                    fault = f"lost: {error!r}"
                self.answers.append(Answered(began, self.now() - began, version, fault))

    def _checked(self, answer: httpx.Response) -> tuple[str, str]:
        if answer.status_code != 200:
            return "", f"lost: {answer.status_code} {answer.text[:200]}"
        found = answer.json()
        version = str(found["model"]["version"])
        boxes = np.array([[box[key] for key in _COLUMNS] for box in found["boxes"]], np.float32).reshape(-1, 6)
        if found["model"]["name"] != self._name or version not in self._versions:
            return version, f"wrong name or version: {found['model']}"
        if not same_boxes(self._boxes.setdefault(version, boxes), boxes):
            return version, "wrong boxes for its version"
        return version, ""


def measure(url: str, name: str, file: Path, clients: int) -> dict[str, Any]:
    """Deploys a file to a running service under load; returns the record.

    Args:
        url: Address of the service.
        name: Name of the model.
        file: ONNX file of the new version.
        clients: Number of clients.
    """
    models = httpx.get(f"{url}/models").raise_for_status().json()["models"]
    before = next(model["version"] for model in models if model["name"] == name)
    after = ModelFile.read(str(file)).sha256[: len(before)]
    load = Load(url, name, {before, after}, clients)
    time.sleep(QUIET_S)
    began = load.now()
    command = [sys.executable, "-m", "azaion_cli", "deploy", name, str(file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ended = load.now()
    time.sleep(QUIET_S)
    load.end()
    phases = {"before": (0.0, began), "build": (began, ended), "after": (ended, load.now())}
    faults = [answer.fault for answer in load.answers if answer.fault]
    return {
        "clients": clients,
        "versions": [before, after],
        "deployed": done.returncode == 0,
        "told": done.stderr.strip().splitlines()[-1:],
        "build_s": round(ended - began, 1),
        "answers": len(load.answers),
        "lost": sum(fault.startswith("lost") for fault in faults),
        "wrong": sum(fault.startswith("wrong") for fault in faults),
        "faults": sorted(set(faults))[:5],
        "by_version": {
            version: sum(answer.version == version for answer in load.answers) for version in (before, after)
        },
        "phases": {phase: _latency(load.answers, *span) for phase, span in phases.items()},
    }


def _latency(answers: list[Answered], begin: float, end: float) -> dict[str, float]:
    seconds = sorted(answer.seconds for answer in answers if begin <= answer.began < end)
    if len(seconds) < 2:
        return {"answers": len(seconds)}
    return {
        "answers": len(seconds),
        "p50_ms": round(statistics.median(seconds) * 1e3, 1),
        "p99_ms": round(statistics.quantiles(seconds, n=100)[98] * 1e3, 1),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    record = {"machine": machine(), **measure(options.url, options.name, options.file, options.clients)}
    text = json.dumps(record, indent=2) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text)
    sys.exit(0 if record["deployed"] and not record["lost"] and not record["wrong"] else 1)


if __name__ == "__main__":
    main()
