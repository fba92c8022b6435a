"""Foreground: runs Ray Serve in this process until a signal, and ends it after the last accepted request.

`serve run` ends its proxies and replicas at once, so requests in flight are cut. Here the applications end first, each
replica after its last request, while the proxies still pass the answers; only then Serve and Ray end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from azaion_cli.exit_codes import ExitCode

_LOOK_S = 1.0
"""Seconds between two looks whether Serve is still there."""


def run(config: str) -> int:
    """Runs Serve with a configuration file until SIGINT, SIGTERM, or `serve shutdown` of another process.

    Returns the exit code when nothing of it is left.

    Args:
        config: Path of the file.
    """
    import ray
    from ray.serve.scripts import run as serve_run

    if fault := _fault_of(config):  # else it would be a traceback, after Ray has started
        print(f"error: {config}: {fault}", file=sys.stderr, flush=True)
        return ExitCode.USAGE
    _on_signals(_interrupt)
    try:
        address = os.environ.get("RAY_ADDRESS")
        ray.init(address=address, namespace="serve")
        _on_signals(_interrupt)  # Ray has put its own handler of SIGTERM in its place, which ends at once
        serve_run.callback(
            config_or_import_path=config,
            arguments=(),
            runtime_env=None,
            runtime_env_json=None,
            working_dir=None,
            app_dir=".",
            address=address,
            blocking=False,
            reload=False,
            route_prefix="/",
            name="default",
        )
        while _serve_is_there():
            time.sleep(_LOOK_S)
        print("ending: Serve was shut down by another process", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        _on_signals(signal.SIG_IGN)
        print("ending: accepted requests are answered first", file=sys.stderr, flush=True)
    finally:
        _end()
    return ExitCode.OK


def _fault_of(config: str) -> str:
    """Returns why a file is no configuration of Serve, on one line; empty if it is one."""
    import yaml
    from pydantic import ValidationError
    from ray.serve.schema import ServeDeploySchema

    try:
        ServeDeploySchema.model_validate(yaml.safe_load(Path(config).read_text(encoding="utf-8")))
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".lstrip(": ") for fault in error.errors())
        return "; ".join(faults)
    except (OSError, ValueError, yaml.YAMLError) as error:
        return " ".join(str(error).split())
    return ""


def _end() -> None:
    """Ends the applications, each after its last request, then Serve, then Ray."""
    import ray
    from ray import serve

    if not ray.is_initialized():
        return
    try:
        if _serve_is_there():
            applications = [*serve.status().applications]
            for blocking in (False, True):  # all of them end at a time
                for name in applications:
                    serve.delete(name, _blocking=blocking)
            serve.shutdown()
    finally:
        ray.shutdown()


def _serve_is_there() -> bool:
    """Returns whether Serve's controller exists; while it restarts it does."""
    import ray

    try:
        ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    except ValueError:
        return False
    return True


def _on_signals(handler: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)  # type: ignore[arg-type]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
