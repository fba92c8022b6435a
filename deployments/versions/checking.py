"""Checking: opens a model in a process of its own, which builds and keeps its engine, before a replica opens it.

A build or a model that ends its process does no harm to the replica beside which it runs.
`python -m deployments.versions.checking PID` reads the settings as JSON from stdin and writes one line of JSON; it ends
with the process PID that started it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from azaion_engine.detector import Detector
from azaion_engine.errors import AzaionError, EngineBuildError
from azaion_engine.model.file import SAMPLES, sample_picture
from azaion_engine.settings import DetectorSettings
from azaion_engine.system.parent import signal_with_parent
from deployments.errors import VersionRefusedError

NICE = 5
"""By which the process stands back from those that serve."""

LONGEST_S = 2 * 3600.0
"""Seconds after which it is ended; an engine of the highest optimisation level takes tens of minutes."""

_LOOK_S = 0.2
"""Seconds between two looks whether the version is still wanted."""

_TAIL = 300


def check_model(settings: DetectorSettings, unwanted: threading.Event) -> None:
    """Opens a model in another process, runs the sample pictures, and closes it; a GPU's plan is in the cache then.

    Args:
        settings: Those of the detector.
        unwanted: Ends the process when it is set.

    Raises:
        VersionRefusedError: It cannot be opened or run, its boxes are not those of ONNX Runtime, its process died, or
            it is no longer wanted.
    """
    given = settings.model_dump_json(include=set(DetectorSettings.model_fields))
    command = [sys.executable, "-m", "deployments.versions.checking", str(os.getpid())]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=_environment()) as process:
        try:
            out, err = _answer(process, given, unwanted)
        finally:
            process.kill()
    try:
        said: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        tail = " ".join(err.split())[-_TAIL:]
        status = process.returncode
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise VersionRefusedError(f"the process that opened it ended with {how}: {tail}") from None
    if "error" in said:
        raise VersionRefusedError(said["error"])


def _answer(process: subprocess.Popen[str], given: str, unwanted: threading.Event) -> tuple[str, str]:
    """Returns what a process has written to stdout and stderr when it has ended.

    Raises:
        VersionRefusedError: It takes too long, or is no longer wanted; it runs still.
    """
    until = time.monotonic() + LONGEST_S
    rest: str | None = given
    while time.monotonic() < until:
        if unwanted.is_set():
            raise VersionRefusedError("it is no longer wanted")
        try:
            return process.communicate(rest, timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            rest = None  # the first call goes on with what it was given
    raise VersionRefusedError(f"its engine was not built within {LONGEST_S / 3600:g} hours")


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
    if not signal_with_parent(int(sys.argv[1]), signal.SIGKILL):
        sys.exit(1)
    os.nice(NICE)
    print(json.dumps(_open_and_run(DetectorSettings.model_validate_json(sys.stdin.read()))))


if __name__ == "__main__":
    main()
