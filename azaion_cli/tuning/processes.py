"""ChildTree: a child process with all its descendants, which end together; Linux, through /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

GRACE_S = 30.0
"""Time to end by itself after SIGTERM, seconds: HAProxy ends its connections first."""
_STEP_S = 0.1

Identity = tuple[int, str]
"""A process: its id and its start time in clock ticks, because ids are used again."""


class ChildTree:
    """A child in a session of its own: Ctrl-C on the terminal does not reach it, only `stop` ends it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes] | int) -> None:
        """Starts the child.

        Args:
            command: Program and arguments.
            environment: Variables to set beside this process's own.
            log: Where standard output and error go.
        """
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._seen: set[Identity] = set()
        self.look()

    def look(self) -> None:
        """Remembers the descendants that live now; those whose parent ends later are found no other way."""
        self._seen |= self._living()

    def stop(self) -> None:
        """Ends the child and all descendants, and returns when none is left: SIGTERM, then SIGKILL.

        An interrupt meanwhile kills them at once, and goes on.
        """
        self.look()
        try:
            self.process.terminate()
            end = time.monotonic() + GRACE_S
            while time.monotonic() < end and self._any_left():
                time.sleep(_STEP_S)
        finally:
            while left := self._any_left():
                for pid, _ in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(_STEP_S)

    def _any_left(self) -> set[Identity]:
        self.process.poll()  # else it stays as a zombie
        self.look()
        return self._seen & {(pid, start) for pid, _, _, start in _processes()}

    def _living(self) -> set[Identity]:
        """Returns the child, its session, and the descendants of all processes seen so far."""
        everyone = _processes()
        family = {pid for pid, _, session, _ in everyone if session == self.process.pid}
        family |= {pid for pid, _, _, start in everyone if (pid, start) in self._seen}
        grown = True
        while grown:
            more = {pid for pid, parent, _, _ in everyone if parent in family} - family
            family |= more
            grown = bool(more)
        return {(pid, start) for pid, _, _, start in everyone if pid in family}


def _processes() -> list[tuple[int, int, int, str]]:
    """Returns id, parent, session and start time of every process but zombies."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it ended
                # The name in parentheses may hold anything: see proc_pid_stat(5).
                state, parent, _, session, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
                if state not in "ZX":
                    found.append((int(folder.name), int(parent), int(session), rest[15]))
    return found
