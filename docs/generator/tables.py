"""Parts of Markdown pages: tables and their cells."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

NOTICE = "<!-- Written by `make reference` from {source}: edit it there. -->"
"""First line of a generated page."""


def cell(text: str) -> str:
    """Returns text as one cell of a table: in one line, its bars and angle brackets kept as characters."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if at % 2 else html.escape(part, quote=False) for at, part in enumerate(parts))


def code(text: object) -> str:
    """Returns text as code, empty for an empty text."""
    return f"`{text}`" if str(text) else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table; bars and line breaks within cells are kept from breaking it."""
    lines = [list(heads), ["---"] * len(heads), *([cell(text) for text in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(title: str, source: str, *parts: str) -> str:
    """Returns a page with the notice that it is generated.

    Args:
        title: Its heading.
        source: Where its content comes from.
        *parts: Paragraphs, tables and headings, in order.
    """
    return "\n\n".join((NOTICE.format(source=source), f"# {title}", *(part for part in parts if part))) + "\n"
