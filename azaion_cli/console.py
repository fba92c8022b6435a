"""Console: results go to stdout, everything else to stderr, one line per message."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from azaion_engine.files.names import needs_ascii, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_NO_BREAK = 10_000
"""Width in columns, more than any line has."""


@lru_cache(maxsize=1)
def stdout() -> Console:
    """Returns the console for results; it never wraps lines in a file or a pipe."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _NO_BREAK)


@lru_cache(maxsize=1)
def stderr() -> Console:
    """Returns the console for messages and progress bars: sharing it puts messages above the bars."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def prepare_streams() -> None:
    """Makes stdin, stdout and stderr usable where the caller closed them (`>&-`) or their encoding lacks letters.

    A closed one gets a file that cannot be read or written, for stderr one that forgets: else the next file that is
    opened would get its number, and what a library prints. Letters that stdout cannot show become escapes.
    """
    for name, mode, flags in (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str, style: str | None = None) -> None:
    """Writes one line to stderr, never wrapped, so that scripts can read it."""
    stderr().print(" ".join(printable(text).split()), style=style, soft_wrap=True)


def say_error(code: str, text: str, *, as_json: bool) -> None:
    """Writes an error to stderr: one line of text, or a JSON object in the HTTP service's error shape."""
    if as_json:
        say(_json({"error": {"code": code, "message": printable(text)}}))
    else:
        say(f"error: {text}", "red")


def say_log(level: str, text: str, *, as_json: bool) -> None:
    """Writes a line of a log to stderr, e.g. `warning: …`, or as `{"log": {"level": …, "message": …}}`."""
    if as_json:
        say(_json({"log": {"level": level, "message": printable(text)}}))
    else:
        say(f"{level}: {text}", "yellow" if level not in ("debug", "info") else None)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=needs_ascii(sys.stderr))


def print_json(value: Any) -> None:
    """Writes a JSON document to stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=needs_ascii(sys.stdout)))


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Writes names and values in two columns to stdout."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value)
    print_table(table)


def print_table(table: Table) -> None:
    """Writes a table to stdout; in a file or a pipe without trailing blanks."""
    console = stdout()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def make_table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Returns a plain table with a heading; the columns in `right` are aligned to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def megabytes(size: float) -> str:
    """Formats a number of bytes in MB (10^6) or GB (10^9)."""
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


class _LogLines(logging.Handler):
    """Log handler: writes the library's log to stderr."""

    errors_too = False
    as_json = False

    def emit(self, record: logging.LogRecord) -> None:
        # The library also raises what it logs as an error, and `main` prints that.
        if record.levelno < logging.ERROR or self.errors_too:
            say_log(record.levelname.lower(), record.getMessage(), as_json=self.as_json)


_log_lines = _LogLines()


def show_log(*, verbose: bool) -> None:
    """Shows the library's warnings on stderr; with `verbose`, its whole log."""
    _log_lines.errors_too = verbose
    logger = logging.getLogger("azaion_engine")
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logger.addHandler(_log_lines)


def log_as_json(wanted: bool) -> None:
    """Sets whether `show_log` shows JSON objects."""
    _log_lines.as_json = wanted
