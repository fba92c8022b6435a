"""Picture bar: progress over pictures, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from azaion_cli.console import stderr

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class PictureBar:
    """Advances the bar of pictures; without a terminal, does nothing."""

    def __init__(self, bar: Progress | None = None, pictures: TaskID | None = None) -> None:
        """Takes rich's bar and its task."""
        self._bar, self._pictures = bar, pictures
        self._windows: TaskID | None = None

    def __call__(self) -> None:
        """A picture more is done."""
        if self._bar is not None and self._pictures is not None:
            self._bar.advance(self._pictures)

    def windows(self, done: int, total: int) -> None:
        """Shows, below the pictures, how many windows of one large picture are done; hides it after the last."""
        if self._bar is None:
            return
        if self._windows is None:
            self._windows = self._bar.add_task("windows", total=total)
        self._bar.update(self._windows, completed=done, total=total)
        if done == total:
            self._bar.remove_task(self._windows)
            self._windows = None


@contextmanager
def picture_bar(total: Callable[[], int], *, results_on_stdout: bool) -> Iterator[PictureBar]:
    """Shows a bar if stderr is a terminal and results do not go to one; yields what advances it.

    Args:
        total: Returns the number of pictures, 0 if it is not known; called only for a bar that is shown.
        results_on_stdout: Whether results are written to stdout while the bar is shown.
    """
    if not stderr().is_terminal or (results_on_stdout and sys.stdout.isatty()):
        yield PictureBar()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("pictures", total=total() or None)
        yield PictureBar(bar, task)
