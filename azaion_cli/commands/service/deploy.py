"""`azaion deploy`: brings a new version of a model to a running service, and takes it back."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from azaion_cli.console import print_json, say
from azaion_cli.joining import ready_to_join
from azaion_cli.options import JsonOption, VerboseOption
from azaion_engine.errors import AzaionError, ConfigurationError, ModelError

LOOK_S = 0.5
"""Seconds between two looks whether the version serves."""

ANSWER_S = 900.0
"""Seconds for the service to take an order; it may wait for all replicas to switch."""

MOST_PICTURES = 200
"""Pictures that are compared at most: they are sent to every replica."""

_OWN_LOOP = "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"
"""Serve's setting for calls from without an event loop; throughput mode, which a shell may be in, turns it off."""

_SERVED = ("serving", "canary")
"""States of the history in which a version answers requests."""

_OVER = ("failed", "ending")
"""States of a model without replicas that gets none before a version is deployed."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".jxl")


def deploy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model, as GET /models lists it.")],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="ONNX file of the new version.", exists=True, dir_okay=False),
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option("--canary", metavar="SHARE", help="Only this part of the requests gets it, e.g. 0.1."),
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Let the canary serve all requests.")] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Withdraw the canary; without one, the version before serves again.")
    ] = False,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            "--compare", metavar="PATH", help="Pictures, or a folder of them, on which both versions run.", exists=True
        ),
    ] = None,
    compare_recent: Annotated[
        bool,
        typer.Option(
            "--compare-recent",
            help="Compare on the pictures of the last requests, too, which the setting `recent_pictures` keeps.",
        ),
    ] = False,
    least: Annotated[
        float, typer.Option("--least", help="Part of all boxes that must agree, 0 to 1, else it is refused.")
    ] = 0.0,
    application: Annotated[
        str | None, typer.Option("--application", help="Name of the service, if Ray runs several.")
    ] = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bring a new version of a model to a running service, without losing a request.

    Its engine is built and checked beside the serving version, which stays if anything fails. The command reaches the
    service through Ray, on the service's machine or with RAY_ADDRESS; anyone who may use Ray may use it.
    """
    wanted = [option for option, given in (("FILE", file), ("--promote", promote), ("--rollback", rollback)) if given]
    if len(wanted) != 1:
        raise typer.BadParameter("expected one of FILE, --promote and --rollback", param_hint="FILE")
    if not 0 <= least <= 1:  # click's own range lets NaN pass
        raise typer.BadParameter(f"expected a part from 0 to 1, given {least}", param_hint="'--least'")
    compares = bool(compare) or compare_recent
    if file is None and (canary is not None or compares or least):
        raise typer.BadParameter("--canary, --compare, --compare-recent and --least go with a FILE", param_hint="FILE")
    if canary is not None and not 0 < canary < 1:
        raise typer.BadParameter(f"expected a part between 0 and 1, given {canary}", param_hint="'--canary'")
    if least and not compares:
        raise typer.BadParameter("it needs --compare or --compare-recent", param_hint="'--least'")
    handle = _handle(application)
    if promote or rollback:
        version = _ordered(handle, "promote" if promote else "rollback", name)
    else:
        assert file is not None
        trial = _trial(compare or (), least, compare_recent) if compares else None
        version = _ordered(handle, "deploy", name, str(file.absolute()), canary or 0.0, trial)
    entry = _watched(handle, name, version, quiet=json_)
    if json_:
        print_json({"model": name, **entry})
    if entry["state"] == "failed":
        raise ModelError(f"the version {version} of {name} is refused: {entry['message']}")
    if entry["state"] not in _SERVED:
        raise ModelError(
            f"the version {version} of {name} does not serve: another order came between, it is {entry['state']}"
        )
    say(f"the version {version} of {name} is {entry['state']}{_told(entry)}")


def _watched(handle: Any, name: str, version: str, quiet: bool) -> dict[str, Any]:
    """Waits until a version is no longer on its way; returns its entry of the history.

    Raises:
        ModelError: The model is gone meanwhile, or has no entry of the version: many have come after it.
    """
    began = time.monotonic()
    said = False
    while True:
        models = {model["name"]: model for model in _ordered(handle, "describe")}
        model = models.get(name, {"history": []})
        entry: dict[str, Any] | None = next((each for each in model["history"] if each["version"] == version), None)
        if entry is None:
            raise ModelError(f"the service tells nothing of the version {version} of {name} any more; see GET /models")
        if entry["state"] != "opening":  # else it begins anew with the model, if nothing serves
            if model["state"] in _OVER and not model["replicas"]:
                return {**entry, "state": "failed", "message": model["message"]}
            if model["replicas"]:
                return entry
        if not said and not quiet:
            say(f"the version {version} of {name} is built and checked; the one before it serves meanwhile")
            said = True
        if time.monotonic() - began > LOOK_S * 20 and not quiet:
            began = time.monotonic()
            say("still building", "dim")
        time.sleep(LOOK_S)


def _told(entry: dict[str, Any]) -> str:
    told = [text for text in (entry["agreement"], entry["comparison"], entry["changes"]) if text]
    return f" ({'; '.join(told)})" if told else ""


def _trial(paths: Sequence[Path], least: float, recent: bool) -> Any:
    from deployments.versions.version import Trial

    files = [
        file
        for path in paths
        for file in (sorted(path.iterdir()) if path.is_dir() else [path])
        if file.suffix.lower() in _SUFFIXES and not file.is_dir()
    ]
    if paths and not files:
        raise typer.BadParameter("expected pictures or folders of pictures, found none", param_hint="'--compare'")
    if len(files) > MOST_PICTURES:
        say(f"the first {MOST_PICTURES} of {len(files)} pictures are compared", "yellow")
    return Trial(tuple(file.read_bytes() for file in files[:MOST_PICTURES]), least, recent)


def _handle(application: str | None) -> Any:
    """Returns Serve's handle of the catalogue.

    Raises:
        ConfigurationError: No service with several models runs here, or more than one.
    """
    _connect()
    from ray import serve

    from deployments.catalog.applications import CATALOG

    catalogs = [name for name, each in serve.status().applications.items() if CATALOG in each.deployments]
    if application is not None:
        catalogs = [name for name in catalogs if name == application]
    if len(catalogs) != 1:
        found = f"several: {', '.join(catalogs)}; name one with --application" if catalogs else "none"
        raise ConfigurationError(f"expected a running service whose configuration has `models`, found {found}")
    return serve.get_app_handle(catalogs[0]).options(_by_reference=True)  # pictures of any size


def _connect() -> None:
    """Connects to Ray, unless this process is connected already.

    Raises:
        ConfigurationError: None runs here, or several do, or it cannot be joined.
    """
    if "ray" in sys.modules and import_module("ray").is_initialized():
        return
    address = ready_to_join()
    os.environ[_OWN_LOOP] = "1"
    import ray.serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it would tell of its own start on the console

    ray.init(address=address, namespace="serve", log_to_driver=False, logging_level="ERROR")


def _ordered(handle: Any, method: str, *arguments: Any) -> Any:
    """Calls a method of the catalogue; raises its error without Ray's traceback."""
    from ray.exceptions import RayTaskError

    try:
        return getattr(handle, method).remote(*arguments).result(timeout_s=ANSWER_S)
    except RayTaskError as error:
        if isinstance(error.cause, AzaionError):
            raise error.cause from None
        raise
