"""Labels: class ids and their names, from a model's metadata or a labels file."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from azaion_engine.errors import ConfigurationError, reason


def parse_names(metadata_value: str) -> dict[int, str]:
    """Reads the `names` that Ultralytics writes into a model's metadata.

    Args:
        metadata_value: A Python dict literal (Ultralytics: `{0: 'car', 1: 'truck'}`) or list, or JSON of either.

    Returns:
        Class id → name, ids ascending.

    Raises:
        ConfigurationError: The value is none of these, or an id or a name is invalid.
    """
    try:
        value = json.loads(metadata_value)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(metadata_value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise ConfigurationError(
                f"class names: neither a Python nor a JSON dict or list: {metadata_value[:80]!r}"
            ) from error
    return _from_value(value, "class names")


def read_labels(path: str | os.PathLike[str]) -> dict[int, str]:
    """Reads a labels file.

    Args:
        path: `.txt` with one name per line, the first is class 0; `.yaml` or `.yml` with `names:` as a list or as a
            mapping id → name (an Ultralytics dataset file does); `.json` with a list, a mapping, or either under
            `names`. UTF-8.

    Returns:
        Class id → name, ids ascending.

    Raises:
        ConfigurationError: The file cannot be read or is malformed; the message has the file, and the line if known.
    """
    file = Path(path)
    readers = {".txt": _read_text, ".yaml": _read_yaml, ".yml": _read_yaml, ".json": _read_json}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise ConfigurationError(f"{file}: a labels file ends in .txt, .yaml, .yml or .json")
    if file.exists() and not file.is_file():  # a pipe or a device would never end
        raise ConfigurationError(f"{file}: cannot be read: it is a folder, device, pipe or socket")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{file}, line {line}: not UTF-8") from error
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise ConfigurationError(f"{file}: cannot be read: {reason(error)}") from error
    return reader(text, str(file))


def _read_text(text: str, file: str) -> dict[int, str]:
    # Editors add blank lines at the end. One in between is an error: dropping it would shift all later names.
    lines = text.rstrip().splitlines()
    return _checked(((i, line, f"{file}, line {i + 1}") for i, line in enumerate(lines)), file)


def _read_yaml(text: str, file: str) -> dict[int, str]:
    # Nodes, not values: they have line numbers, and YAML 1.1 would turn the names `no` and `on` into booleans.
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark is not None else file
        raise ConfigurationError(f"{where}: not YAML: {getattr(error, 'problem', None) or error}") from error
    names = None
    if isinstance(root, yaml.MappingNode):
        names = next((value for key, value in root.value if key.value == "names"), None)
    if isinstance(names, yaml.SequenceNode):
        pairs: list[tuple[Any, Any]] = list(enumerate(names.value))
    elif isinstance(names, yaml.MappingNode):
        pairs = [(key.value, value) for key, value in names.value]
    else:
        raise ConfigurationError(f"{file}: expected `names:` with a list or a mapping of id to name")
    return _checked(((i, node.value, f"{file}, line {node.start_mark.line + 1}") for i, node in pairs), file)


def _read_json(text: str, file: str) -> dict[int, str]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{file}, line {error.lineno}: not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number with too many digits
        raise ConfigurationError(f"{file}: not JSON: {error}") from error
    if isinstance(value, dict) and "names" in value:
        value = value["names"]
    return _from_value(value, file)


def _from_value(value: Any, where: str) -> dict[int, str]:
    if isinstance(value, (list, tuple)):
        pairs: Iterable[tuple[Any, Any]] = enumerate(value)
    elif isinstance(value, dict):
        pairs = value.items()
    else:
        raise ConfigurationError(f"{where}: expected a dict or a list of names, given {type(value).__name__}")
    return _checked(((i, name, f"{where}, class {i!r}") for i, name in pairs), where)


def _checked(entries: Iterable[tuple[Any, Any, str]], source: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for class_id, name, where in entries:
        try:
            # JSON and metadata keys may be strings. True is no class id, although int(True) is 1.
            number = -1 if isinstance(class_id, (bool, float)) else int(class_id)
        except (TypeError, ValueError):
            number = -1
        if not 0 <= number < 2**31:
            raise ConfigurationError(f"{where}: a class id is a whole number from 0 to 2^31 - 1, given {class_id!r}")
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(f"{where}: a class name is a text that is not blank, given {name!r}")
        if any("\ud800" <= character <= "\udfff" for character in name):  # a lone surrogate
            raise ConfigurationError(f"{where}: a class name is a text of whole characters, given {name!r}")
        if number in names:
            raise ConfigurationError(f"{where}: class {number} is named twice")
        names[number] = name.strip()
    if not names:
        raise ConfigurationError(f"{source}: no class names")
    return dict(sorted(names.items()))
