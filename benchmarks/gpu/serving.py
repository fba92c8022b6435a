"""Serving: `azaion serve` for as long as a measurement asks it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks.service.serve_record import wait_until_ready

PATIENCE_S = 150.0
"""Seconds until the service must be ready; it loads its plan."""
_END_S = 60.0


@contextmanager
def serving(config: Path) -> Iterator[str]:
    """Starts a service, yields its address when it is ready, and ends it.

    Args:
        config: Serve configuration.

    Raises:
        SystemExit: It ended, or was not ready in time.
    """
    url = f"http://127.0.0.1:{yaml.safe_load(config.read_text())['http_options']['port']}"
    process = subprocess.Popen([sys.executable, "-m", "azaion_cli", "serve", str(config)])
    try:
        wait_until_ready(url, process, PATIENCE_S)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
