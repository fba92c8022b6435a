"""Checking: opens a model in a process of its own, which builds and keeps its engine, before a replica opens it.

A build or a model that ends its process does no harm to the replica beside which it runs.
`python -m deployments.versions.checking` reads the settings as JSON from stdin and writes one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from azaion_engine.detector import Detector
from azaion_engine.errors import AzaionError, EngineBuildError
from azaion_engine.model.file import SAMPLES, sample_picture
from azaion_engine.settings import DetectorSettings
from deployments.errors import VersionRefusedError

NICE = 5
"""By which the process stands back from those that serve."""

LONGEST_S = 2 * 3600.0
"""Seconds after which it is ended; an engine of the highest optimisation level takes tens of minutes."""

_TAIL = 300


def check_model(settings: DetectorSettings) -> None:
    """Opens a model in another process, runs the sample pictures, and closes it; a GPU's plan is in the cache then.

    Raises:
        VersionRefusedError: It cannot be opened or run, its boxes are not those of ONNX Runtime, or its process died.
    """
    given = settings.model_dump_json(include=set(DetectorSettings.model_fields))
    command = [sys.executable, "-m", "deployments.versions.checking"]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise VersionRefusedError(f"its engine was not built within {LONGEST_S / 3600:g} hours") from None
    try:
        said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        tail = " ".join(done.stderr.split())[-_TAIL:]
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        raise VersionRefusedError(f"the process that opened it ended with {how}: {tail}") from None
    if "error" in said:
        raise VersionRefusedError(said["error"])


def agreement_of(detector: Detector) -> str:
    """Returns how far a detector's engine agrees with ONNX Runtime; empty if that is the engine.

    Raises:
        EngineBuildError: Its boxes are others than ONNX Runtime's.
    """
    origin = detector.engine.origin
    if origin is None or origin.agreement is None:
        return ""
    if not origin.agreement.holds:
        raise EngineBuildError(f"the engine finds other boxes than ONNX Runtime: {origin.agreement}")
    return str(origin.agreement)


def _environment() -> dict[str, str]:
    """Returns this process's environment, with the import path that Ray gave it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _open_and_run(settings: DetectorSettings) -> dict[str, str]:
    try:
        with Detector.open(settings) as detector:
            detector.warm_up()
            for name in SAMPLES:
                detector.detect([sample_picture(name)])
            agreement_of(detector)
            return {}
    except AzaionError as error:
        return {"error": str(error)}


def main() -> None:
    """Runs in the process of its own."""
    os.nice(NICE)
    print(json.dumps(_open_and_run(DetectorSettings.model_validate_json(sys.stdin.read()))))


if __name__ == "__main__":
    main()
