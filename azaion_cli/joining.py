"""Joining: a Ray that runs already is tried before this process depends on it.

In the process that tries, what is no GCS keeps `ray.init` for minutes, and signals wait for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

from azaion_cli.local_ray import ray_to_join
from azaion_cli.throughput import answers
from azaion_engine.errors import ConfigurationError

TRY_S = 60.0
"""Seconds to join a Ray; it takes one to three."""

_GCS = "expected the address of a cluster's GCS, HOST:6379"
_TOKEN = "if it has a token, set RAY_AUTH_MODE=token here, and have the token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
_JOIN = """
import signal, sys, ray
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))  # ends this process: importing Ray does not count
try:
    ray.init(sys.argv[1], namespace="azaion", log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


def ready_to_join(address: str | None = None, seconds: float = TRY_S) -> str:
    """Prepares this process, which has not imported Ray yet, for joining one that runs.

    Args:
        address: Its address; None: RAY_ADDRESS, else the Ray of this machine; `auto`: that.
        seconds: Time to join it in.

    Returns:
        Its address, for `ray.init`.

    Raises:
        ConfigurationError: None or several run here, or it cannot be joined.
    """
    found = ray_to_join({**os.environ, "RAY_ADDRESS": address} if address else os.environ)
    check_joins(found.address, found.environment, seconds)
    for name, value in found.environment.items():
        os.environ.setdefault(name, value)  # Ray reads them when it is imported
    return found.address


def check_joins(address: str, environment: Mapping[str, str], seconds: float) -> None:
    """Joins a Ray in a process of its own, and leaves it.

    Args:
        address: Host and port of its GCS.
        environment: Variables that joining it needs, beside those of this process, which win.
        seconds: Time to join it in.

    Raises:
        ConfigurationError: Nothing listens there, or it cannot be joined, or not within that time.
    """
    if not answers(address):  # Ray itself would try for minutes
        raise ConfigurationError(f"no Ray answers at {address}: {_GCS}")
    command = [sys.executable, "-c", _JOIN, address, str(seconds)]
    variables = {**environment, **os.environ}
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=variables)
    if ran.returncode == -signal.SIGALRM:
        raise ConfigurationError(
            f"what listens at {address} does not answer as a Ray does within {seconds:g} s: {_GCS}; {_TOKEN}"
        )
    if ran.returncode:
        said = (ran.stderr.splitlines() or [f"status {ran.returncode}"])[-1]
        raise ConfigurationError(f"cannot join the Ray at {address}: {said}; {_TOKEN}")
