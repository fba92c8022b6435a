"""Page of the command line: every command of `azaion` with its arguments and options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer.main

from azaion_cli.app import app
from docs.generator.tables import code, page, table


def command_line() -> str:
    """Returns the page."""
    parts = [
        "`pip install .` brings one command, `azaion`; `python -m azaion_cli` is the same. `--version` shows the "
        "version, `--help` of any command what stands here, and `azaion --install-completion` teaches your shell "
        "the commands and options. [Files in, files out](files.md) says what `azaion detect` reads and writes, "
        "[Errors](errors.md) what the exit codes mean.",
    ]
    found = list(commands())
    parts.append(
        table(
            ("command", ""),
            ((f"[`{name}`](#{name.replace(' ', '-')})", _text(command).split("\n\n")[0]) for name, command in found),
        )
    )
    for name, command in found:
        parts += [f"## {name}", _text(command)]
        given = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
        arguments = [one for one in given if not one.opts[0].startswith("-")]
        options = [one for one in given if one.opts[0].startswith("-")]
        if arguments:
            named = ((code(_metavar(one)), "" if one.required else "optional", one.help or "") for one in arguments)
            parts.append(table(("argument", "", ""), named))
        if options:
            rows = ((_names(one), _type(one), _default(one), one.help or "") for one in options)
            parts.append(table(("option", "value", "default", ""), rows))
    return page("Command line", "the commands' own help", *parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Yields the full name and the command of every command, those of groups too."""
    yield from _below("azaion", typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, child in command.commands.items():
        yield from _below(f"{name} {word}", child)


def _text(command: Any) -> str:
    paragraphs = (command.help or "").replace("\b", "").split("\f")[0].strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _metavar(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return f"{name}…" if parameter.nargs == -1 else name


def _names(option: Any) -> str:
    return ", ".join(map(code, [*option.opts, *getattr(option, "secondary_opts", ())]))


def _type(option: Any) -> str:
    if option.metavar:
        return code(option.metavar)
    return _words(option.type_descriptor.annotation)


def _words(kind: Any) -> str:
    names = {str: "text", int: "integer", float: "number", bool: "", Path: "path"}
    if get_origin(kind) is Literal:
        return ", ".join(map(code, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_words(one) for one in get_args(kind) if one is not type(None))
    if get_origin(kind) in (list, tuple):
        return f"{_words(get_args(kind)[0])}, repeatable"
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _default(option: Any) -> str:
    value = option.default
    if value in (None, False, ()) or callable(value):
        return "required" if option.required else ""
    return "on" if value is True else code(value)
