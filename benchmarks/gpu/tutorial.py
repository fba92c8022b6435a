"""Tutorial: the step "Move to a GPU" of docs/tutorial.md, with what each command says.

    python -m benchmarks.gpu.tutorial CONFIG --json FILE [--engine tensorrt]

`azaion doctor`, `azaion build`, `azaion serve CONFIG`, `GET /model`, and a picture with one car. With `--engine onnx`
nothing is built.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from azaion_engine.model.file import sample_picture
from benchmarks.gpu.files import QUICK
from benchmarks.gpu.serving import serving
from benchmarks.gpu.steps import build_command
from benchmarks.records.machine import machine

BOX = {"x1": 1171.83, "y1": 272.76, "x2": 1250.66, "y2": 329.95}
"""The car that docs/tutorial.md shows, in pixels of the picture."""
TOLERANCE_PX = 4.0
"""Largest difference of a coordinate: FP16 and FP32 differ by less than a pixel."""


def ask(url: str) -> dict[str, Any]:
    """Returns what the service says of its model, and the boxes of the tutorial's first question."""
    question = f"{url}/detect?confidence=0.9&classes=car"
    boxes = httpx.post(question, content=sample_picture(), timeout=60).raise_for_status().json()["boxes"]
    return {"model": httpx.get(f"{url}/model").raise_for_status().json(), "boxes": boxes}


def faults_of(record: dict[str, Any], engine: str) -> list[str]:
    """Returns what went otherwise than the tutorial says.

    Args:
        record: `exit_codes` by command, and what `ask` returns.
        engine: How the name of the engine begins.
    """
    faults = [f"{command} ended with {code}" for command, code in record["exit_codes"].items() if code]
    name, boxes = str(record["model"]["engine"]), record["boxes"]
    if not name.startswith(engine):
        faults.append(f"GET /model says {name}, expected {engine}")
    if len(boxes) != 1:
        faults.append(f"{len(boxes)} boxes, expected 1")
    elif any(abs(boxes[0][key] - value) > TOLERANCE_PX for key, value in BOX.items()):
        faults.append(f"the box is {boxes[0]}, expected {BOX}")
    return faults


def main() -> int:
    """Returns 1 if anything went otherwise than the tutorial says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--engine", choices=("tensorrt", "onnx"), default="tensorrt")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    [application] = yaml.safe_load(options.config.read_text())["applications"]
    args = application["args"]
    plan = {key: args[key] for key in QUICK if key in args}
    commands: dict[str, tuple[str, ...]] = {"doctor": ("-m", "azaion_cli", "doctor", str(options.config))}
    if options.engine == "tensorrt":
        commands["build"] = build_command(Path(args["model"]), Path(args["cache_dir"]), plan)
    record: dict[str, Any] = {"machine": machine(), "exit_codes": {}, "seconds": {}}
    for name, command in commands.items():
        begun = time.monotonic()
        record["exit_codes"][name] = subprocess.run([sys.executable, *command], check=False).returncode
        record["seconds"][name] = round(time.monotonic() - begun, 1)
    begun = time.monotonic()
    with serving(options.config) as url:
        record["seconds"]["ready"] = round(time.monotonic() - begun, 1)
        record |= ask(url)
    record["faults"] = faults_of(record, options.engine)
    options.json.write_text(json.dumps(record, indent=1) + "\n")
    print("; ".join(record["faults"]) or f"one box on {record['model']['engine']}, ready: {record['seconds']}")
    return int(bool(record["faults"]))


if __name__ == "__main__":
    sys.exit(main())
