"""Options that several commands share, and the settings made from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from azaion_cli.console import show_log

if TYPE_CHECKING:
    from pydantic import ValidationError

    from azaion_engine.settings import DetectorSettings


Settings = TypeVar("Settings")

DEFAULT_CONFIG = Path("serve_config.yaml")
"""The Serve configuration that is taken if it is there and none is named."""


def existing_model(model: str | None) -> str | None:
    """Checks, before anything is loaded, that there is something; raises typer.BadParameter."""
    if model not in (None, "demo") and not os.path.exists(os.path.expanduser(str(model))):
        raise typer.BadParameter(f"no such file: {model!r} (a path, or 'demo' for the built-in model)")
    return model


def _verbose(verbose: bool) -> bool:
    show_log(verbose=verbose)
    return verbose


ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Path of an ONNX file, or 'demo'.", callback=existing_model)
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Path of an ONNX file, or 'demo'.", callback=existing_model)
]
ConfigArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG",
        help=f"Configuration of Ray Serve; default: {DEFAULT_CONFIG} here, if there is one.",
        exists=True,
        dir_okay=False,
    ),
]
EngineOption = Annotated[
    Literal["auto", "tensorrt", "onnx"] | None,
    typer.Option("--engine", help="Default: auto, TensorRT where there is a GPU and ONNX Runtime elsewhere."),
]
ConfidenceOption = Annotated[
    float | None, typer.Option("--confidence", "-c", help="Threshold, 0 to 1; default 0.25.", min=0, max=1)
]
ClassesOption = Annotated[
    str | None, typer.Option("--classes", help="Ids or names to keep, e.g. car,truck; default: all.")
]
BandsOption = Annotated[
    str | None, typer.Option("--bands", help="Bands of a TIFF for red, green, blue, e.g. 4,3,2, or one for grey.")
]
GsdOption = Annotated[
    float | None, typer.Option("--gsd", help="Resample TIFFs to so many metres a pixel, those of the training.")
]
SceneGsdOption = Annotated[
    float | None, typer.Option("--scene-gsd", help="Metres a pixel of TIFFs that do not say so themselves.")
]
RecursiveOption = Annotated[bool, typer.Option("--recursive", "-r", help="Look into folders of folders too.")]
TilesOption = Annotated[
    str | None,
    typer.Option(
        "--tiles",
        metavar="auto|SIZE|off",
        help="Cut large pictures into overlapping tiles of the network's size (auto) or of SIZE pixels, and merge "
        "their boxes; more with --set tiles.overlap=0.2 and the like. Default: off.",
    ),
]
BatchOption = Annotated[int | None, typer.Option("--batch-size", help="Pictures of one execution.", min=1)]
CacheOption = Annotated[
    Path | None, typer.Option("--cache-dir", help="Where engines are kept; default: the user's cache.", file_okay=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the configuration, e.g. precision=fp32."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, errors too.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show the log, and tracebacks of errors.", callback=_verbose)
]


def parse_assignments(assignments: list[str] | None) -> dict[str, Any]:
    """Parses `key=value` texts; values are YAML, a dot in a key addresses a nested mapping.

    Raises:
        typer.BadParameter: A text has no key or `=`, is no YAML, or sets a key twice.
    """
    import yaml

    values: dict[str, Any] = {}
    for text in assignments or ():
        key, equals, value = text.partition("=")
        *outer, last = key.strip().split(".")
        if not equals or not last:
            raise typer.BadParameter(f"expected KEY=VALUE, given {text!r}", param_hint="'--set'")
        place = values
        for name in outer:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{name!r} is set twice, given {text!r}", param_hint="'--set'")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"{text!r} is not YAML: {error}", param_hint="'--set'") from error
    return values


def read_settings(assignments: list[str] | None = None, **options: Any) -> DetectorSettings:
    """Makes a detector's settings from `--set` and from options by name; ignores options that are None.

    Raises:
        typer.BadParameter: An unknown key or a wrong value, by name, or a key of both.
    """
    from azaion_engine.settings import DetectorSettings

    values = parse_assignments(assignments)
    given = {key: value for key, value in options.items() if value is not None}
    if "tiles" in given and isinstance(values.get("tiles"), dict):  # --tiles 640 --set tiles.overlap=0.3
        given["tiles"] = {**values.pop("tiles"), "size": given["tiles"]}
    if twice := sorted(values.keys() & given.keys()):
        raise typer.BadParameter(f"{twice[0]!r} has an option or argument of its own", param_hint="'--set'")
    return checked(DetectorSettings, {**values, **given})


def checked(kind: Callable[..., Settings], values: dict[str, Any]) -> Settings:
    """Makes a settings object of the pydantic class `kind`.

    Raises:
        typer.BadParameter: An unknown key or a wrong value, by name.
    """
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        raise typer.BadParameter("; ".join(faults_of(error, getattr(kind, "model_fields", ())))) from error


def faults_of(error: ValidationError, keys: Iterable[str]) -> list[str]:
    """Returns each fault of settings in words, by the name of its key.

    Args:
        error: What pydantic found.
        keys: The keys that there are: one that is like an unknown key is named.
    """
    words = []
    for fault in error.errors(include_url=False, include_context=False):
        key, says = ".".join(map(str, fault["loc"])), fault["msg"]
        if fault["type"] == "extra_forbidden":
            like = get_close_matches(key, keys, 1)
            says = "there is no such key" + (f"; did you mean {like[0]}?" if like else "")
        words.append(f"{key}: {says}".lstrip(": "))
    return words
