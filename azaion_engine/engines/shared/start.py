"""Start: starts the process that runs an engine for others."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.shared.host_process import ON_GPU
from azaion_engine.engines.shared.line import greet
from azaion_engine.errors import ExecutionError, GpuLostError
from azaion_engine.system.patient_lock import PatientLock

logger = logging.getLogger(__name__)

OpenEngine = Callable[[], InferenceEngine]
MakeOpener = Callable[[], OpenEngine]
"""Returns the function that opens the engine in the host."""


def start_host(make_opener: MakeOpener, path: Path, on_gpu: bool) -> None:
    """Starts a host and waits until it listens.

    Args:
        make_opener: Called while the process starts; what it returns is pickled.
        path: The host's Unix socket.
        on_gpu: Whether the engine may use a GPU; the host then creates the CUDA context at once.

    Raises:
        ExecutionError: The host ended and sent no error.
        Exception: What `make_opener` or the opener raised.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    process = subprocess.Popen(
        # Not -m: pickled classes would belong to `__main__`.
        [
            sys.executable,
            "-c",
            "from azaion_engine.engines.shared.host_process import main; main()",
            *([ON_GPU] * on_gpu),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        answer, _ = process.communicate(pickle.dumps((make_opener(), path)))
    except BaseException:
        for pipe in (process.stdin, process.stdout):  # without an opener the host exits
            assert pipe is not None
            pipe.close()
        process.kill()
        process.wait()
        raise
    if not answer:
        raise ExecutionError("the engine's process ended before it opened the engine; its log has the reason")
    if (error := pickle.loads(answer)) is not None:
        raise error


def start_unless_running(make_opener: MakeOpener, path: Path, on_gpu: bool) -> None:
    """Starts a host unless one listens already; waits while another process does.

    Args:
        make_opener: As in `start_host`, like the other arguments.
        path: The host's Unix socket.
        on_gpu: Whether the engine may use a GPU.

    Raises:
        Exception: As `start_host`.
    """
    lock = PatientLock(path.with_suffix(".lock"))
    lock.acquire(lambda _: logger.info("waiting for another process that starts or builds the engine"))
    try:
        try:
            greet(path)[0].close()
        except (OSError, GpuLostError):
            start_host(make_opener, path, on_gpu)
    finally:
        lock.release()
