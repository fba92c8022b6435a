"""Files: the models and configurations that the steps share, in the folder of the records."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from azaion_cli.throughput import free_ports
from azaion_engine.model.file import DEMO, ModelFile

Engine = Literal["tensorrt", "onnx"]

RATES: dict[str, Any] = {"height": 1280, "width": 1280, "batch_size": 16, "optimization_level": 1}
"""Settings of the plans whose rate is measured; `benchmarks.library.raw_head` builds at level 1."""
SMALL: dict[str, Any] = {"height": 640, "width": 640, "batch_size": 32, "optimization_level": 1}
"""The same at the size of most exports."""
QUICK: dict[str, Any] = {**RATES, "optimization_level": 0}
"""Settings of the demo's plan where a build is waited for: level 0 takes 45 s on an H200."""
CHAOS: dict[str, Any] = {"height": 320, "width": 320, "batch_size": 16, "optimization_level": 0}
"""Settings of the plan of `tests.chaos.gpu` and `tests.chaos.two_gpus`."""
ON_THE_CPU: dict[str, Any] = {"height": 320, "width": 320}
"""Settings of every step on ONNX Runtime: two cores answer many requests."""


@dataclass(frozen=True)
class Files:
    """Where the files of one folder of records are.

    Attributes:
        out: The folder, an absolute path.
        model: A YOLO26 end-to-end export with random weights, or None for the demo.
        engine: Of every step.
    """

    out: Path
    model: Path | None = None
    engine: Engine = "tensorrt"

    @property
    def cache(self) -> Path:
        """Folder of the plans."""
        return self.out / "cache"

    @property
    def demo(self) -> Path:
        """The demo as a file."""
        return self.out / "models" / "demo.onnx"

    @property
    def chaos(self) -> Path:
        """The demo again: where `tests.chaos` writes it, because plans are kept by the model's name."""
        return self.cache / "chaos.onnx"

    @property
    def lively(self) -> Path:
        """The model whose rate is measured: `model` made lively, or the demo.

        Its name has the hash of what it is made of and of its size: one folder may see several models.
        """
        return self._made_of("lively") if self.model else self.demo

    @property
    def raw(self) -> Path:
        """The same network with a raw head."""
        return self._made_of("raw")

    @property
    def rates(self) -> dict[str, Any]:
        """Keys of `DetectorSettings` of the model whose rate is measured, without the model."""
        return RATES if self.engine == "tensorrt" else ON_THE_CPU

    @property
    def small(self) -> Path:
        """The demo once more, for `SMALL`."""
        return self.out / "models" / "small.onnx"

    @property
    def rates_config(self) -> Path:
        """Serve configuration of the model whose rate is measured."""
        return self.out / "configs" / "rates.yaml"

    @property
    def swap_config(self) -> Path:
        """Serve configuration of the demo as one of `models`."""
        return self.out / "configs" / "swap.yaml"

    @property
    def mine(self) -> Path:
        """Serve configuration of the tutorial."""
        return self.out / "configs" / "mine.yaml"

    @property
    def steps_record(self) -> Path:
        """The record of how the steps of this run went; each run has its own, named by the second (UTC)."""
        return self.out / f"steps-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"

    def record(self, name: str) -> Path:
        """Returns where the record of a step goes."""
        return self.out / f"{name}.json"

    def succeeded(self) -> set[tuple[str, ...]]:
        """Returns the commands that ended well in earlier runs, as their records tell."""
        commands = set()
        for path in self.out.glob("steps-*.json"):
            with suppress(ValueError):  # its run was killed while it wrote
                steps = json.loads(path.read_text())["steps"]
                commands |= {tuple(step["command"]) for step in steps if step["exit_code"] == 0}
        return commands

    def write(self) -> None:
        """Writes the demo and the configurations, each time with free ports."""
        for path in (self.demo, self.chaos, self.rates_config):
            path.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.demo, self.small, self.chaos):
            path.write_bytes(ModelFile.read(DEMO).data)
        quick = QUICK if self.engine == "tensorrt" else ON_THE_CPU
        engine = {"engine": self.engine, "cache_dir": str(self.cache)}
        one_gpu = {"num_gpus": 1} if self.engine == "tensorrt" else {"cpu_replicas": 1}
        configs: dict[Path, dict[str, Any]] = {
            self.rates_config: {"model": str(self.lively), **engine, **one_gpu, **self.rates},
            self.swap_config: {**engine, **one_gpu, "models": {"demo": {"model": str(self.demo), **quick}}},
            # Without `engine`: on a GPU, the service takes it by itself. The tutorial's box needs its size.
            self.mine: {
                "model": str(self.demo), "cache_dir": str(self.cache), **QUICK, "confidence": 0.5, "max_queue": 64,
            },
        }  # fmt: skip
        for path, args in configs.items():
            path.write_text(yaml.safe_dump(_serve_config(args)))

    def _made_of(self, kind: str) -> Path:
        assert self.model is not None
        content = hashlib.sha256(self.model.read_bytes()).hexdigest()[:8]
        return self.out / "models" / f"{self.model.stem}-{content}-{self.rates['height']}-{kind}.onnx"


def _serve_config(args: dict[str, Any]) -> dict[str, Any]:
    application = {"name": "detector", "route_prefix": "/", "import_path": "deployments.app:build", "args": args}
    return {
        "http_options": {"host": "127.0.0.1", "port": free_ports(1)[0]},
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "applications": [application],
    }
