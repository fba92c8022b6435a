"""What Serve's configuration files repeat is equal: YAML includes no file, and the app builder sees only `args`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from azaion_cli.commands.service.serve_config import serve_config

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "serve_config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


def with_grpc(text: str) -> str:
    """Removes the signs before the lines of gRPC, where it is off."""
    return re.sub(r"^# (grpc_options:|  \w)", r"\1", text, flags=re.MULTILINE)


def repeated(config: dict[str, Any]) -> dict[str, Any]:
    """Returns what is the same for every model and machine: all but the host, gRPC and the arguments."""
    [application] = config["applications"]
    return {
        "proxy_location": config["proxy_location"],
        "http_options": {**config["http_options"], "host": None},
        "logging_config": config["logging_config"],
        "application": {key: application[key] for key in ("name", "route_prefix", "import_path")},
    }


def configurations() -> Iterator[Any]:
    for path in SHIPPED:
        yield pytest.param(yaml.safe_load(path.read_text()), id=path.name)
    for overlay in ("cpu", "gpu"):
        service = yaml.safe_load((ROOT / "deploy/kuberay/overlays" / overlay / "rayservice.yaml").read_text())
        yield pytest.param(yaml.safe_load(service["spec"]["serveConfigV2"]), id=f"kuberay-{overlay}")


@pytest.mark.parametrize("config", [*configurations()])
def test_a_configuration_repeats_what_azaion_serve_makes(config: dict[str, Any]) -> None:
    made = yaml.safe_load(serve_config("127.0.0.1", 8000, None, {}))
    assert repeated(config) == repeated(made)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_grpc_is_what_azaion_serve_makes_with_a_port(path: Path) -> None:
    made = yaml.safe_load(serve_config("127.0.0.1", 8000, 9000, {}))
    assert yaml.safe_load(with_grpc(path.read_text()))["grpc_options"] == made["grpc_options"]


def test_repeated_blocks_have_the_same_comments() -> None:
    """A block is what stands between empty lines; the comments before gRPC's differ by whether it is on."""
    for start in ("http_options:", "logging_config:", "# gRPC is off", "grpc_options:"):
        blocks = {
            re.sub(r"host: \S+( +#.*)?", "host:", block).strip()
            for path in SHIPPED
            for block in path.read_text().split("\n\n")
            if block.startswith(start)
        }
        assert len(blocks) == 1, "\n\n".join(sorted(blocks))
