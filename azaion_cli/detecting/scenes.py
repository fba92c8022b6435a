"""Bands: which bands of a TIFF the command line names."""

from __future__ import annotations

import typer


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Parses `1,2,3`.

    Raises:
        typer.BadParameter: Not one number or three.
    """
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) not in (1, 3) or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"expected one number or three, e.g. 1,2,3, given {text!r}", param_hint="'--bands'")
    return tuple(int(part) for part in parts)
