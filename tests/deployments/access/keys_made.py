"""Keys files for tests."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from deployments.access.keys import Key, digest, new_secret
from deployments.access.keys_file import edit_keys

CREATED = datetime(2026, 11, 1, tzinfo=timezone.utc)


def add_key(path: Path, name: str = "lab", **properties: Any) -> str:
    """Adds a key to a file and returns its text."""
    secret = new_secret()
    with edit_keys(path) as keys:
        keys.append(Key(name=name, sha256=digest(secret), created=CREATED, **properties))
    return secret


def change_key(path: Path, name: str, **properties: Any) -> None:
    """Changes a key of a file."""
    with edit_keys(path) as keys:
        keys[:] = [key.model_copy(update=properties) if key.name == name else key for key in keys]
