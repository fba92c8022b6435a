"""Host: what the steps need of this machine, and the lanes in which they run side by side."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Folder of the project, in which every step runs."""
MODULES = ("ray", "httpx", "yaml", "onnx", "psutil", "pytest", "pytest_timeout", "hypothesis")
"""What the steps import beside the library, with or without a GPU."""
GPU_MODULES = ("pycuda.driver", "pynvml")
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


def missing(needs_gpu: bool, root: Path = ROOT) -> list[str]:
    """Returns what this machine lacks, each in a few words.

    Args:
        needs_gpu: Whether the steps need a GPU.
        root: Folder of the project.
    """
    found = [path for path in PATHS if not (root / path).exists()]
    for name in (*MODULES, *(GPU_MODULES if needs_gpu else ())):
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: a library that it needs
            found.append(f"{name} ({error})")
    if haproxy := _missing_haproxy():
        found.append(haproxy)
    if needs_gpu:
        found += _missing_tensorrt()
        found += [] if visible_gpus() else ["a GPU that NVML sees"]
    return found


def _missing_haproxy() -> str:
    """Returns why there is no HAProxy, behind which `tests.chaos` puts its service; empty if there is one."""
    from deployments.cluster.haproxy import missing_haproxy

    return missing_haproxy(os.environ)


def _missing_tensorrt() -> list[str]:
    from azaion_engine.engines.tensorrt import installed
    from azaion_engine.errors import MissingDependencyError

    try:
        installed.load()
    except MissingDependencyError as error:
        return [f"TensorRT ({error})"]
    return []
