"""Foreground: runs Ray Serve in a session of its own until a signal, and ends it after the last accepted request.

`serve run` ends its proxies and replicas at once, so requests in flight are cut. Here the applications end first, each
replica after its last request, while the proxies still pass the answers; only then Serve and Ray end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from azaion_cli.exit_codes import ExitCode
from azaion_cli.session import begin_session, ending_signals, let_signals_end

_LOOK_S = 1.0
"""Seconds between two looks whether Serve, or Ray, is still there."""

_ray_may_end = threading.Event()
"""Set when this process itself ends Ray."""


def main(config: str) -> int:
    """Runs Serve in a session of its own, and returns the exit code when no process of it is left.

    Args:
        config: Path of the file.
    """
    session = begin_session()
    if session is None:
        return run(config)
    code = session.wait()
    # An end as asked for, too: some service managers end all processes at once, Ray's among them, and Ray's own handler
    # of SIGTERM, which is there while Ray starts, ends with the signal's number.
    return ExitCode.OK if session.asked and code in (ExitCode.ENVIRONMENT, signal.SIGTERM) else code


def run(config: str) -> int:
    """Runs Serve with a configuration file until a signal, or `serve shutdown` of another process.

    Returns the exit code when Serve and Ray have ended; ends this process if Ray ends before.

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
        let_signals_end()
        address = os.environ.get("RAY_ADDRESS")
        ray.init(address=address, namespace="serve")
        _on_signals(_interrupt)  # Ray has put its own handler of SIGTERM in its place, which ends at once
        threading.Thread(target=_end_with_ray, args=(ray._private.worker._global_node,), daemon=True).start()
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
        _say("ending: Serve was shut down by another process")
    except KeyboardInterrupt:
        _say("ending: accepted requests are answered first")
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
    except ray.exceptions.RayError as error:  # whoever ends this command may end Ray's processes at the same time
        _say(f"ending: Serve has ended before: {' '.join(str(error).split())[-200:]}")
        sys.exit(ExitCode.ENVIRONMENT)  # as `_end_with_ray`; `main` knows whether an end was asked for
    finally:
        _ray_may_end.set()
        ray.shutdown()


def _serve_is_there() -> bool:
    """Returns whether Serve's controller exists; while it restarts it does."""
    import ray

    try:
        ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    except ValueError:
        return False
    return True


def _end_with_ray(node: Any) -> None:
    """Ends this process if a daemon of the Ray that it has started ends: calls to Ray would wait long, or for ever.

    Args:
        node: What `ray.init` has started; nothing if it has joined another Ray.
    """
    while not _ray_may_end.wait(_LOOK_S):
        ended = sorted({name for name, _ in node.dead_processes()} & {"gcs_server", "raylet"})
        if ended and not _ray_may_end.is_set():
            _say(f"ending: Ray has ended ({', '.join(ended)}); its logs have the reason")
            os._exit(ExitCode.ENVIRONMENT)


def _on_signals(handler: object) -> None:
    for number in ending_signals():
        signal.signal(number, handler)  # type: ignore[arg-type]


def _interrupt(number: int, frame: FrameType | None) -> None:
    _on_signals(signal.SIG_IGN)  # one is enough
    raise KeyboardInterrupt


def _say(line: str) -> None:
    with suppress(OSError):  # the terminal has closed
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
