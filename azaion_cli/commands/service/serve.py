"""`azaion serve`: replaces itself by Ray Serve in throughput mode, with a configuration file or one of options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from azaion_cli.checks.preflight import (
    http_address,
    open_address,
    refuse_taken_ports,
    refuse_unusable_folders,
    refuse_wrong_arguments,
    require_ray,
)
from azaion_cli.commands.service.serve_config import serve_config
from azaion_cli.console import say, stderr
from azaion_cli.joining import environment_to_join
from azaion_cli.options import (
    DEFAULT_CONFIG,
    ConfigArgument,
    EngineOption,
    JsonOption,
    VerboseOption,
    checked,
    parse_assignments,
)
from azaion_cli.throughput import HAPROXY, dead_ray, running_ray, serve_environment

_PATHS = ("model", "labels", "cache_dir")


def serve(
    config: ConfigArgument = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Path of an ONNX file; default: demo.")] = None,
    engine: EngineOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; default 8000.", min=1, max=65535)] = None,
    grpc_port: Annotated[
        int | None, typer.Option("--grpc-port", help="Port of gRPC, which is off without it.", min=1, max=65535)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the configuration, e.g. batch_size=8."),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="File of `azaion keys add`: nobody without a key.", exists=True, dir_okay=False),
    ] = None,
    throughput: Annotated[
        bool,
        typer.Option(
            "--throughput/--no-throughput",
            help="Set Ray up for the most pictures a second, with HAProxy in front of the replicas.",
        ),
    ] = True,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Serve a model over HTTP: `serve run` with a configuration file, or with one made of these options.

    It ends on Ctrl-C, SIGTERM or SIGHUP, after the accepted requests, and with code 3 if the Ray that it started dies.
    """
    require_ray()
    given = {
        "--model": model,
        "--engine": engine,
        "--host": host,
        "--port": port,
        "--grpc-port": grpc_port,
        "--set": set_ or None,
        "--keys": keys,
    }
    options = [name for name, value in given.items() if value is not None]
    if config and options:
        raise typer.BadParameter(
            f"a configuration file and {', '.join(options)} exclude each other", param_hint="CONFIG"
        )
    if config is None and not options and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    if config is None:
        args = application_args(model, engine, set_, keys)
        text = serve_config(host or "127.0.0.1", port or 8000, grpc_port, args)
        if verbose:
            stderr().print(text)
        path = _in_memory(text)
    else:
        path = str(config)
        refuse_wrong_arguments(path)
    address, number = http_address(path)
    if warning := open_address(path):
        say(warning, "yellow")
    if dead := dead_ray(os.environ):
        say(f"the Ray at {dead} has ended, although ray_current_cluster still names it: starting another", "yellow")
    if running_ray(os.environ):
        environment, missing = serve_environment(environment_to_join(os.environ), number, throughput, address)
    else:  # where Ray runs, Serve may, too, and take a new configuration for its own port
        refuse_taken_ports(path)
        refuse_unusable_folders(os.environ)
        environment, missing = serve_environment(os.environ, number, throughput, address)
    if throughput:
        _say_mode(environment, missing, f"{address}:{number}")
    os.execve(sys.executable, [sys.executable, "-m", "azaion_cli.foreground", path], environment)


def _say_mode(environment: Mapping[str, str], missing: str, listens_on: str) -> None:
    """Says on stderr what throughput mode changes."""
    if address := running_ray(environment):
        say(f"Ray at {address} keeps the environment that it was started in (configs/throughput.env)", "yellow")
    elif missing:
        say(f"throughput mode without HAProxy, so Serve's slower Python proxy listens: {missing}", "yellow")
    elif environment.get(HAPROXY) == "1":
        say(f"throughput mode: HAProxy listens on {listens_on}; --no-throughput leaves it off")
    else:
        say(f"throughput mode, without HAProxy, as {HAPROXY} says; --no-throughput leaves it off")


def application_args(
    model: str | None, engine: str | None, assignments: list[str] | None, keys: Path | None = None
) -> dict[str, Any]:
    """Returns the checked `args` of the application, their paths absolute.

    Raises:
        typer.BadParameter: An unknown key, a wrong value, or no such model.
        ModelError: The model is no ONNX file.
    """
    from azaion_engine.model.file import ModelFile

    values = {"model": "demo", **parse_assignments(assignments)}
    values |= {key: value for key, value in (("model", model), ("engine", engine)) if value is not None}
    if keys is not None:
        values["access"] = {"keys_file": str(keys)}
    for key in _PATHS:  # replicas may run in another folder
        if isinstance(values.get(key), str) and (key, values[key]) != ("model", "demo"):
            values[key] = str(Path(os.path.expanduser(values[key])).absolute())
    access = values.get("access")
    if isinstance(access, dict) and isinstance(access.get("keys_file"), str):
        access["keys_file"] = str(Path(os.path.expanduser(access["keys_file"])).absolute())
    # Checked here: Serve would only log a wrong key and keep waiting. Imported by name, as Serve imports the
    # application: the library does not depend on the service.
    checked(import_module("deployments.settings").ServiceSettings, values)
    if values["model"] != "demo" and not Path(values["model"]).is_file():
        raise typer.BadParameter(f"no such file: {values['model']!r}", param_hint="'--model'")
    ModelFile.read(values["model"])
    return values


def _in_memory(text: str) -> str:
    """Returns the path of a file in memory: after exec, no code is left to delete a file on disk."""
    descriptor = os.memfd_create("serve_config.yaml", 0)  # without MFD_CLOEXEC: it outlives exec
    os.write(descriptor, text.encode())
    return f"/proc/self/fd/{descriptor}"
