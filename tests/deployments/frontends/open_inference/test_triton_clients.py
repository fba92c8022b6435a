"""Triton clients, unmodified, against a real Serve: runs `triton_clients.py` in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[3]


@pytest.fixture(scope="module")
def triton_python() -> str:
    python = Path(os.environ.get("TRITON_PYTHON") or ROOT / ".venv-triton/bin/python")
    if "TRITON_PYTHON" not in os.environ and not python.exists():
        pytest.skip("NVIDIA's clients need an environment of their own: `make .venv-triton/.made`, or `make test`")
    return str(python)


def test_tritons_clients_get_what_the_protocol_promises(triton_python, running_serve, plain_alone):
    suite = ["--rootdir", str(HERE), str(HERE / "triton_clients.py")]
    run = subprocess.run(
        [triton_python, "-m", "pytest", "-q", "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider", *suite],
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))},
            "OPEN_INFERENCE_HTTP": plain_alone.url.removeprefix("http://"),
            "OPEN_INFERENCE_GRPC": running_serve.grpc_address,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-6000:]
    assert " skipped" not in run.stdout
