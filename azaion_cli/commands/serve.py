"""`azaion serve`: replaces itself by `serve run` with a configuration file, or one made from options."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from azaion_cli.commands.serve_config import serve_config
from azaion_cli.console import stderr
from azaion_cli.options import EngineOption, JsonOption, VerboseOption, checked, parse_assignments
from azaion_engine.errors import MissingDependencyError

DEFAULT_CONFIG = Path("serve_config.yaml")
_PATHS = ("model", "labels", "cache_dir")


def serve(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help="Serve configuration; default: serve_config.yaml here, if there is one.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Path of an ONNX file; default: demo.")] = None,
    engine: EngineOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; default 8000.", min=1, max=65535)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the configuration, e.g. batch_size=8."),
    ] = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Serve a model over HTTP: `serve run` with a configuration file, or with one made of these options.

    The process becomes Ray Serve's own; it ends on Ctrl-C or SIGTERM.
    """
    if find_spec("ray") is None:
        raise MissingDependencyError("Ray Serve is not installed: pip install 'ray[serve]'")
    given = {"--model": model, "--engine": engine, "--host": host, "--port": port, "--set": set_ or None}
    options = [name for name, value in given.items() if value is not None]
    if config and options:
        raise typer.BadParameter(
            f"a configuration file and {', '.join(options)} exclude each other", param_hint="CONFIG"
        )
    if config is None and not options and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    if config is None:
        text = serve_config(host or "127.0.0.1", port or 8000, _application_args(model, engine, set_))
        if verbose:
            stderr().print(text)
        path = _in_memory(text)
    else:
        path = str(config)
    # Clients' request ids are sanitised before Serve uses them, as in `make serve`.
    safe_ids = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.frontends.ingress:middlewares"}
    os.execve(sys.executable, [sys.executable, "-m", "ray.serve.scripts", "run", path], {**safe_ids, **os.environ})


def _application_args(model: str | None, engine: str | None, assignments: list[str] | None) -> dict[str, Any]:
    values = {"model": "demo", **parse_assignments(assignments)}
    values |= {key: value for key, value in (("model", model), ("engine", engine)) if value is not None}
    for key in _PATHS:  # replicas may run in another folder
        if isinstance(values.get(key), str) and (key, values[key]) != ("model", "demo"):
            values[key] = str(Path(values[key]).expanduser().absolute())
    # Checked here: Serve would only log a wrong key and keep waiting. Imported by name, as Serve imports the
    # application: the library does not depend on the service.
    checked(import_module("deployments.settings").ServiceSettings, values)
    if values["model"] != "demo" and not Path(values["model"]).is_file():
        raise typer.BadParameter(f"no such file: {values['model']!r}", param_hint="'--model'")
    return values


def _in_memory(text: str) -> str:
    """Returns the path of a file in memory: after exec, no code is left to delete a file on disk."""
    descriptor = os.memfd_create("serve_config.yaml", 0)  # without MFD_CLOEXEC: it outlives exec
    os.write(descriptor, text.encode())
    return f"/proc/self/fd/{descriptor}"
