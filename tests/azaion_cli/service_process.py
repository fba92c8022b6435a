"""ServiceProcess: a real `azaion serve` in a process group of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def begin_service(folder: Path, port: int, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts `azaion serve` without a GPU in a folder, with its output in the file `log` there."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "azaion_cli", "serve", "--port", str(port), "--engine", "onnx", *arguments]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def start_service(folder: Path, port: int, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts the same and returns when it is ready."""
    process = begin_service(folder, port, *arguments)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return process
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    process.terminate()
    raise AssertionError(f"not ready within 200 s:\n{(folder / 'log').read_text()[-4000:]}")
