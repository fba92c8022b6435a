"""Session: a process in a session of its own, which the command waits for, and whose processes end with it.

A terminal, `timeout` and service managers signal every process of the command's group. Only the command gets such a
signal and passes it on, so the processes that the session has started do not end before it; what they leave is ended.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from azaion_engine.system.parent import signal_with_parent

GRACE_S = 3.0
"""Seconds between SIGTERM and SIGKILL for processes that outlive the session's first one, and after SIGKILL."""

_STEP_S = 0.1


class Session:
    """The session, seen from the command.

    Attributes:
        asked: Whether a signal has asked it to end.
    """

    def __init__(self, leader: int) -> None:
        """Passes signals on from now on.

        Args:
            leader: ID of its first process, a child of this one.
        """
        self._leader = leader
        self.asked = False
        for number in ending_signals():
            signal.signal(number, self._pass_on)

    def wait(self) -> int:
        """Waits for its first process, ends the others, and returns the exit code, as a shell reports it."""
        # It stays a zombie until nothing is left, so that no other process gets its ID.
        os.waitid(os.P_PID, self._leader, os.WEXITED | os.WNOWAIT)
        self._end_others()
        _, status = os.waitpid(self._leader, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        with suppress(ProcessLookupError):
            os.kill(self._leader, number)

    def _end_others(self) -> None:
        _send(self._others(), signal.SIGTERM)
        asked = time.monotonic()
        while self._others() and time.monotonic() - asked < GRACE_S:
            time.sleep(_STEP_S)
        # Once at least, however slow the machine was until here.
        killed = time.monotonic()
        while left := self._others():
            _send(left, signal.SIGKILL)
            if time.monotonic() - killed >= GRACE_S:
                break
            time.sleep(_STEP_S)

    def _others(self) -> list[int]:
        """Returns its living processes. An engine host has a session of its own: other services may use it."""
        found = []
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            with suppress(OSError):  # it has just ended
                # The name in parentheses may hold anything: see proc_pid_stat(5).
                state, _, _, session, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if int(session) == self._leader and state not in "ZX":
                    found.append(pid)
        return found


def begin_session() -> Session | None:
    """Starts a process that goes on from here in a session of its own; threads must not run yet.

    Returns:
        The session, or None in the new process. There signals that end are blocked until `let_signals_end`; it gets a
        SIGTERM if the command is killed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
    command = os.getpid()
    if leader := os.fork():
        session = Session(leader)
        let_signals_end()
        return session
    os.setsid()
    if not signal_with_parent(command, signal.SIGTERM):  # killed before that
        os._exit(128 + signal.SIGKILL)
    return None


def let_signals_end() -> None:
    """Lets the signals that end this process arrive."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending_signals())


def ending_signals() -> list[signal.Signals]:
    """Returns the signals that ask a service to end; SIGHUP, of a terminal that closes, unless `nohup` ignores it."""
    hangs_up = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])]


def _send(processes: list[int], number: signal.Signals) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
