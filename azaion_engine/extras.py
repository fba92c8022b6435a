"""Extras: packages that only some uses need, imported when one does."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from azaion_engine.errors import MissingDependencyError


def import_extra(module: str, name: str, remedy: str) -> Any:
    """Imports and returns a module of a package that only some uses need.

    Args:
        module: Its full name in Python.
        name: The package's name in the message.
        remedy: The command that installs it, the end of the message.

    Raises:
        MissingDependencyError: The package, or a shared library that it loads, is missing.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # OSError: the shared library
        raise MissingDependencyError(f"{name} cannot be loaded ({error}): {remedy}") from error


def import_if_installed(module: str) -> Any:
    """Imports and returns a module, or None if it cannot be imported."""
    try:
        return import_module(module)
    except ImportError:
        return None
