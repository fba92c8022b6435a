"""engine_alone: the engine's rate at every batch size, from `azaion bench` in a process of its own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azaion_cli.tuning.processes import ChildTree

SECONDS = 2.0
"""Longest measurement of one batch size."""


class NotMeasuredError(Exception):
    """The engine cannot be measured alone; the text is the reason."""


def engine_alone(
    settings: Mapping[str, Any], largest: int, seconds: float, picture: Path, until: float
) -> list[dict[str, float]]:
    """Measures the engine built for the largest batch, which runs the smaller ones too.

    It has its own process, because a GPU's memory is free for the services only when that has ended.

    Args:
        settings: Keys of a detector's settings, the model among them.
        largest: The largest batch size.
        seconds: Length of the measurement of one batch size, at most `SECONDS`.
        picture: File of an encoded picture.
        until: When to give up, monotonic seconds.

    Returns:
        `batch_size`, `median_ms`, `p95_ms` and `pictures_per_s` of the batch sizes 1, 2, 4 … and the largest.

    Raises:
        NotMeasuredError: The engine cannot be built or run, or not in time.
    """
    others = {key: value for key, value in settings.items() if key not in ("model", "batch_size")}
    command = [sys.executable, "-m", "azaion_cli", "bench", str(settings["model"]), "--json"]
    command += ["--batch-size", str(largest), "--seconds", str(min(seconds, SECONDS)), "--picture", str(picture)]
    command += [part for key, value in others.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    with tempfile.TemporaryFile() as log:
        child = ChildTree(command, {}, log)
        try:
            while child.process.poll() is None:
                if time.monotonic() > until:
                    raise NotMeasuredError("the engine alone was not measured in time")
                time.sleep(0.1)
        finally:
            child.stop()
        log.seek(0)
        said = log.read().decode(errors="replace")
    if child.process.returncode:
        raise NotMeasuredError(_message(said))
    report, _ = json.JSONDecoder().raw_decode(said[f"\n{said}".index("\n{\n") :])  # the log may stand around it
    rows: list[dict[str, float]] = report["batch_sizes"]
    return rows


def _message(said: str) -> str:
    """Returns the message of an error as `--json` writes it, else the last line."""
    lines = [line for line in said.splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            return str(json.loads(line)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            continue
    return lines[-1] if lines else "it said nothing"
