"""Machine: describes where a result was measured; every committed result contains it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "ray",
    "numpy",
    "onnxruntime",
    "onnx",
    "pillow",
    "opencv-python-headless",
    "tensorrt",
    "pycuda",
    "nvidia-nvjpeg-cu12",
    "nvidia-nvjpeg",
)
PEERS = ("mosec", "litserve", "bentoml", "nvidia-pytriton")


def machine() -> dict[str, Any]:
    """Returns cores, processor, GPU, versions, commit, date and command line."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        # A copy of the tree without its git history, as on a GPU machine, gets the commit from the environment.
        "commit": os.environ.get("COMMIT") or _run("git", "rev-parse", "--short", "HEAD"),
        "command": "python -m " + " ".join([_module(), *sys.argv[1:]]),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load_generator": (_run("wrk", "-v") or "").partition("\n")[0] or None,
        "gpu": _run("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def versions_in(python: Path) -> dict[str, str]:
    """Returns the versions in another environment of Python, of `PACKAGES` and of `PEERS`."""
    script = (
        "import json, platform, sys\n"
        "from importlib.metadata import distributions\n"
        "found = {d.metadata['Name'].lower(): d.version for d in distributions()}\n"
        "print(json.dumps({'python': platform.python_version(), **{n: found[n] for n in sys.argv[1:] if n in found}}))"
    )
    done = subprocess.run([python, "-c", script, *PACKAGES, *PEERS], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else Path(sys.argv[0]).name


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _run(*command: str) -> str | None:
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
