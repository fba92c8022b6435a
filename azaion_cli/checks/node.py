"""NodeReport: what one node of a cluster has; `python -m azaion_cli.checks.node` prints it as JSON."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from azaion_cli.checks.check import Check
from azaion_cli.checks.machine import installed_gpus, machine_checks
from azaion_cli.checks.network import has_token, listeners_of_ray, network_checks, process_environment, short_name
from azaion_engine.errors import AzaionError
from azaion_engine.version import __version__

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class OpenPort:
    """A port of Ray or Serve that other machines reach.

    Attributes:
        port: TCP port.
        address: IP address on which it listens.
        process: Name of its program.
    """

    port: int
    address: str
    process: str


@dataclass(frozen=True)
class NodeReport:
    """What one node has.

    Attributes:
        host: Name of the machine or container.
        versions: Program → version; what is not installed is left out.
        gpus: Names of the GPUs that the driver shows.
        cache: Folder of the engines.
        engines: Number of engines in it.
        engine_bytes: Size of the engines, bytes.
        token: Whether Ray's processes ask for its token; None if that cannot be read.
        ports: Ports of Ray and Serve, of all nodes on this machine, that other machines reach.
        checks: Those of `azaion doctor`.
    """

    host: str
    versions: dict[str, str]
    gpus: list[str]
    cache: str
    engines: int
    engine_bytes: int
    token: bool | None
    ports: list[OpenPort] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NodeReport:
        """Makes a report of its `dataclasses.asdict`; ignores what another version adds to it."""
        known = {name: values[name] for name in cls.__dataclass_fields__}
        known["ports"] = [OpenPort(**port) for port in known["ports"]]
        known["checks"] = [Check(**check) for check in known["checks"]]
        return cls(**known)


def report_here(cache_dir: Path | None) -> NodeReport:
    """Looks at this machine.

    Args:
        cache_dir: Folder of the engines; default: the user's cache.
    """
    from azaion_engine.plans.store import PlanStore

    store = PlanStore(cache_dir)
    sizes = [plan.path.stat().st_size for plan in store.plans() if plan.path.exists()]
    asking = f"ray::{report_of_node.__name__}"  # the worker that looks: it ends with its answer
    ours = [each for each in listeners_of_ray() if not each.process.startswith(asking)]
    return NodeReport(
        host=socket.gethostname(),
        versions=_versions(),
        gpus=installed_gpus(),
        cache=str(store.directory),
        engines=len(sizes),
        engine_bytes=sum(sizes),
        token=has_token(ours),
        ports=[OpenPort(each.port, each.address, short_name(each.process)) for each in ours if not each.is_local],
        checks=[*machine_checks(cache_dir), *network_checks()],
    )


def report_of_node(cache_dir: str | None, seconds: float) -> dict[str, Any]:
    """Makes the report of the node that a Ray task runs on, in a process of its own.

    Ray hides the GPUs from a task that asked for none, and what the look at them loads must not stay in its worker.

    Args:
        cache_dir: Folder of the engines on that node; default: its user's cache.
        seconds: After which the process is killed.

    Returns:
        `dataclasses.asdict` of the report.

    Raises:
        RuntimeError: The process failed; its message has the last line that it wrote.
        subprocess.TimeoutExpired: It took too long.
    """
    environment = {key: value for key, value in os.environ.items() if key != _VISIBLE}
    raylet = process_environment(os.getppid())
    if _VISIBLE in raylet:
        environment[_VISIBLE] = raylet[_VISIBLE]
    # A worker may have this package from the driver's path, which its Python alone does not know.
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "azaion_cli.checks.node", *([cache_dir] if cache_dir else [])]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    if ran.returncode:
        lines = [line for line in ran.stderr.splitlines() if line.strip()] or ["it wrote nothing"]
        raise RuntimeError(f"the check of this node ended with status {ran.returncode}: {lines[-1].strip()}")
    report: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])  # libraries may have written lines before it
    return report


def _versions() -> dict[str, str]:
    from azaion_engine.engines.tensorrt import installed

    found = {"azaion-engine": __version__, "Python": platform.python_version()}
    for name, package in (("Ray", "ray"), ("ONNX Runtime", "onnxruntime")):
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    try:
        trt = installed.load()
    except (AzaionError, ImportError, OSError):  # doctor's check tells why
        return found
    name = "TensorRT-RTX" if trt.flavour == "tensorrt_rtx" else "TensorRT"
    return {**found, name: trt.version}


if __name__ == "__main__":
    print(json.dumps(asdict(report_here(Path(sys.argv[1]) if sys.argv[1:] else None))))
