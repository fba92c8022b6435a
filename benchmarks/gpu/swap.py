"""Swap: starts a service with one model, measures `benchmarks.service.swap` on it, and ends it.

    python -m benchmarks.gpu.swap CONFIG --json FILE

CONFIG has one of `models`. The next version is the same file with one more metadata entry, another one at each call:
its engine is always built.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import uuid
from pathlib import Path

import onnx
import yaml

from benchmarks.gpu.serving import serving


def make_next_version(model: Path, target: Path) -> None:
    """Writes a copy of a model with one more metadata entry, so that it is another version that answers the same."""
    proto = onnx.load(model)
    proto.metadata_props.add(key="next_version", value=uuid.uuid4().hex)
    onnx.save(proto, target)


def main() -> int:
    """Returns the exit code of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    [application] = yaml.safe_load(options.config.read_text())["applications"]
    [(name, settings)] = application["args"]["models"].items()
    model = Path(settings["model"])
    target = model.with_name(f"{model.stem}-next.onnx")
    make_next_version(model, target)
    with serving(options.config) as url:
        command = [
            sys.executable, "-m", "benchmarks.service.swap", name, str(target),
            "--url", url, "--clients", str(options.clients), "--json", str(options.json),
        ]  # fmt: skip
        code = subprocess.run(command, check=False).returncode
    if options.json.exists():
        record = json.loads(options.json.read_text())
        told = {key: record[key] for key in ("deployed", "build_s", "answers", "lost", "wrong", "told")}
        print(json.dumps({**told, "p99_ms": {name: one.get("p99_ms") for name, one in record["phases"].items()}}))
    return code


if __name__ == "__main__":
    sys.exit(main())
