"""Page of the configuration: fields of the settings classes, and environment variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from azaion_engine.settings import DetectorSettings, InputSettings, Tiles
from deployments.settings import AccessSettings, ApplicationSettings, Autoscale, RarelyUsedSettings, ServiceSettings
from docs.generator.tables import code, page, table

ROOT = Path(__file__).parents[2]

VARIABLES = {
    "AZAION_KEY": "Key that `azaion_client` sends where the code names none.",
    "AZAION_GRPC_HOST": "Address on which gRPC listens; unset: every address. `azaion serve` sets it.",
    "AZURE_STORAGE_ACCOUNT": "Account of `az://` sources of `azaion batch` whose URL names none.",
    "AZURE_STORAGE_KEY": "Its key.",
    "CUDA_VISIBLE_DEVICES": "GPUs that a process sees; Ray sets it for each replica.",
    "CUDA_DEVICE_MAX_CONNECTIONS": "Hardware queues of the GPU; 8 unless set. The driver reads it when it starts.",
    "HOME": "Folder below which Ray keeps its token and the user's cache lies.",
    "PYTHONPATH": "Handed on to the processes that a replica or a check starts.",
    "RAY_ADDRESS": "Ray that the commands join; `azaion serve` and `azaion batch` start one of their own without it.",
    "RAY_AUTH_MODE": "`token`: Ray asks whoever reaches its ports for its token. `azaion serve` sets it.",
    "RAY_TMPDIR": "Folder of Ray's sessions, which `azaion doctor` looks at; then `TMPDIR`, then `/tmp`.",
    "RAY_SERVE_ENABLE_HA_PROXY": "`1`: HAProxy stands in front of the replicas.",
    "TMPDIR": "Folder of temporary files.",
}
"""Environment variables that the code itself reads or sets, with their meaning."""

_CLASSES: tuple[tuple[str, type[BaseModel], type[BaseModel] | None], ...] = (
    ("Of the detector", DetectorSettings, None),
    ("Of the service", ServiceSettings, DetectorSettings),
    ("Several models", ApplicationSettings, ServiceSettings),
    ("`input`", InputSettings, None),
    ("`tiles`", Tiles, None),
    ("`autoscale`", Autoscale, None),
    ("`access`", AccessSettings, None),
    ("`rarely_used`", RarelyUsedSettings, None),
)


def configuration() -> str:
    """Returns the page."""
    parts = [
        "These keys stand under `args` of an application in a Serve configuration, such as `serve_config.yaml`. "
        "`--set KEY=VALUE` of the commands takes the same keys, and "
        "`azaion_engine.Detector.open(…)` those of the detector as keywords. "
        "An unknown key, or a value out of range, is refused at start by its name."
    ]
    for title, settings, base in _CLASSES:
        fields = {
            name: field
            for name, field in settings.model_fields.items()
            if base is None or name not in base.model_fields
        }
        parts += [f"## {title}", table(("key", "type", "default", ""), (row(name, fields[name]) for name in fields))]
    parts += [
        "## Environment variables",
        "Read by the project's own code:",
        table(("variable", ""), ((code(name), meaning) for name, meaning in sorted(VARIABLES.items()))),
        "Ray and the C library read these. `azaion serve` sets them itself (but for what you set); on a cluster they "
        "come from `configs/throughput.env`, before `ray start` on every node:",
        table(("variable", "value", ""), throughput_variables()),
    ]
    return page("Configuration", "the settings classes and configs/throughput.env", *parts)


def row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    """Returns key, type with its range, default and description of a field."""
    return code(name), type_of(field), default_of(field), field.description or ""


def type_of(field: FieldInfo) -> str:
    """Returns the type of a field in words, with its range."""
    bounds = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}
    limits = [
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in bounds.items()
        if getattr(rule, name, None) is not None
    ]
    pattern = [f"`{rule.pattern}`" for rule in field.metadata if getattr(rule, "pattern", None)]
    return ", ".join([words(field.annotation), *limits, *pattern])


def words(annotation: Any) -> str:
    """Returns a type as readers of YAML know it."""
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path", Any: "any"}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in names:
        return names[annotation]
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if hasattr(annotation, "__metadata__"):
        return words(arguments[0])
    if origin is tuple:
        return f"{len(arguments)} times {words(arguments[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping, below"
    if origin is Union or "|" in str(annotation):
        return " or ".join(dict.fromkeys(words(one) for one in arguments if one is not type(None)))
    return str(getattr(annotation, "__name__", annotation))


def default_of(field: FieldInfo) -> str:
    """Returns the default of a field as YAML has it, – for none, "required" for a key that must be there."""
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "–"
    if isinstance(value, Tiles):
        return code(value.size)
    if isinstance(value, BaseModel):
        return "its defaults"
    return code({True: "true", False: "false"}[value] if isinstance(value, bool) else value)


def throughput_variables() -> list[tuple[str, str, str]]:
    """Returns name, value and comment of each line of configs/throughput.env."""
    lines = (ROOT / "configs" / "throughput.env").read_text().splitlines()
    found = [re.fullmatch(r"(\w+)=(\".*?\"|\S+)\s*(?:# (.*))?", line) for line in lines if not line.startswith("#")]
    return [(code(one[1]), code(one[2].strip('"')), one[3] or "") for one in found if one]
