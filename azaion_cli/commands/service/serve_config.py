"""serve_config: the Ray Serve configuration that `azaion serve` makes from its options."""

from __future__ import annotations

from typing import Any

import yaml


def serve_config(host: str, port: int, grpc_port: int | None, args: dict[str, Any]) -> str:
    """Returns a configuration as YAML, in the form of `serve_config.yaml`.

    Args:
        host: Address to listen on.
        port: TCP port of HTTP.
        grpc_port: TCP port of gRPC; None leaves gRPC off.
        args: Arguments of the application: model, engine and other keys of the configuration.
    """
    config: dict[str, Any] = {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port, "request_timeout_s": 60},
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "applications": [
            {"name": "detector", "route_prefix": "/", "import_path": "deployments.app:build", "args": args}
        ],
    }
    if grpc_port is not None:
        config["grpc_options"] = {
            "port": grpc_port,
            "request_timeout_s": 60,
            "grpc_servicer_functions": ["deployments.frontends.open_inference.grpc_service.add_open_inference"],
        }
    return yaml.safe_dump(config, sort_keys=False)
