"""Host: what the steps need of this machine, and the lanes in which they run side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Folder of the project, in which every step runs."""
_IMPORTS = ("import ray", "import azaion_cli.app", "import benchmarks.service.swap")
"""What steps start in processes of their own."""
_GPU_IMPORTS = (
    "import pycuda.driver",
    "import pynvml",
    "from azaion_engine.engines.tensorrt import installed; installed.load()",
)
_PYTEST_IMPORTS = ("import pytest_timeout", "import hypothesis")
_TRY = """
import sys
for statement in sys.argv[1:]:
    try:
        exec(statement)
    except Exception as error:
        print(f"{statement}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
"""
PATHS = (
    "docs/openapi.json",
    "demo/training/evaluate.py",
    "tests/chaos/gpu.py",
    "azaion_engine/data/demo.onnx",
    "deployments/frontends/open_inference/generated/grpc_service_pb2.py",
)
"""What a copy of the project may lack; git ignores the last."""
_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Lane:
    """A part of the host in which one step runs at a time: steps of two lanes share no GPU and no core.

    Attributes:
        gpus: As CUDA_VISIBLE_DEVICES names them.
        cores: Indices of CPU cores.
    """

    gpus: tuple[str, ...]
    cores: tuple[int, ...]


def lanes_of(gpus: Sequence[str], cores: Sequence[int]) -> list[Lane]:
    """Returns a lane for each GPU, with an equal share of the cores; without a GPU one with every core.

    Fewer cores than GPUs are shared by all lanes.
    """
    if not gpus:
        return [Lane((), tuple(cores))]
    share = len(cores) // len(gpus)
    return [
        Lane((gpu,), tuple(cores[index * share : (index + 1) * share] if share else cores))
        for index, gpu in enumerate(gpus)
    ]


def ordered_cores(cores: Iterable[int], cpus: Path = _CPUS) -> list[int]:
    """Returns cores so that the threads of one physical core, and the cores of one socket, are neighbours.

    Linux may number the second threads after all the first ones: halves by number would share every physical core.

    Args:
        cores: Indices of CPU cores.
        cpus: Folder of sysfs with `cpuN/topology`; what it does not tell is taken as 0.
    """

    def place(core: int) -> tuple[int, int, int]:
        return _topology(cpus, core, "physical_package_id"), _topology(cpus, core, "core_id"), core

    return sorted(cores, key=place)


def _topology(cpus: Path, core: int, name: str) -> int:
    try:
        return int((cpus / f"cpu{core}" / "topology" / name).read_text())
    except (OSError, ValueError):
        return 0


def visible_gpus() -> list[str]:
    """Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty without a driver."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    try:
        import pynvml

        pynvml.nvmlInit()
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # no module, or no driver
        return []


def missing(modules: Iterable[str], needs_gpu: bool, root: Path = ROOT) -> list[str]:
    """Returns what this machine lacks, each in a few words.

    Args:
        modules: What the steps run with `-m`; each is imported, in another process.
        needs_gpu: Whether the steps need a GPU.
        root: Folder of the project.
    """
    named = dict.fromkeys(modules)
    imports = [*_IMPORTS, *(_GPU_IMPORTS if needs_gpu else ()), *(_PYTEST_IMPORTS if "pytest" in named else ())]
    found = [path for path in PATHS if not (root / path).exists()]
    found += failing([*imports, *(f"import {name}" for name in named)])
    if haproxy := _missing_haproxy():
        found.append(haproxy)
    if needs_gpu and not visible_gpus():
        found.append("a GPU that NVML sees")
    return found


def failing(statements: Sequence[str]) -> list[str]:
    """Runs statements of Python in one other process; returns those that fail, each with its error's first line."""
    command = [sys.executable, "-c", _TRY, *statements]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    crash = [f"imports end with {done.returncode}: {done.stderr[-200:].strip()}"] if done.returncode else []
    return done.stdout.splitlines() + crash


def _missing_haproxy() -> str:
    """Returns why there is no HAProxy, behind which `tests.chaos` puts its service; empty if there is one."""
    from deployments.cluster.haproxy import missing_haproxy

    return missing_haproxy(os.environ)
