"""Picture bar: progress over pictures, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from azaion_cli.console import stderr


@contextmanager
def picture_bar(total: Callable[[], int], *, results_on_stdout: bool) -> Iterator[Callable[[], None]]:
    """Shows a bar if stderr is a terminal and results do not go to one; yields the function that advances it.

    Args:
        total: Returns the number of pictures, 0 if it is not known; called only for a bar that is shown.
        results_on_stdout: Whether results are written to stdout while the bar is shown.
    """
    if not stderr().is_terminal or (results_on_stdout and sys.stdout.isatty()):
        yield lambda: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("", total=total() or None)
        yield lambda: bar.advance(task)
