"""Negotiation: which of several forms of an answer a client prefers (RFC 9110, 12.5)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress


def qualities(values: Iterable[str]) -> dict[str, float]:
    """Reads the values of an Accept or Accept-Encoding header, which may be sent several times.

    Returns:
        Lower-case name → its quality; 0 means not acceptable. Entries with a malformed q-value are ignored.
    """
    found: dict[str, float] = {}
    for entry in ",".join(values).lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        if not name:
            continue
        given = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        with suppress(ValueError):
            found[name] = float(given)
    return found
