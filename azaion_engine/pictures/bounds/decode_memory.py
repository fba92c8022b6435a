"""DecodeMemory: a budget of bytes for all decodes of a process at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from azaion_engine.errors import OutOfMemoryError, PictureTooLargeError
from azaion_engine.system.heap import trim_heap
from azaion_engine.system.memory import available_memory

_MIB = 2**20
_LARGE = 40 * _MIB
"""Bytes from which on a decode gives the heap's free pages back: it takes long enough for that."""
_LEAST, _MOST = 256 * _MIB, 4096 * _MIB


class DecodeMemory:
    """Semaphore of bytes: decodes that would exceed the budget together wait for each other; thread-safe.

    The first to wait is the first to go on, so that small pictures never keep a large one waiting for ever. Cannot
    deadlock: a decode takes its bytes once, and waits for nothing while it has them.

    Attributes:
        limit: Bytes of all decodes at once.
    """

    def __init__(self, limit: int) -> None:
        """Creates the budget, all free.

        Args:
            limit: Bytes of all decodes at once.
        """
        self.limit = limit
        self._free = limit
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @classmethod
    def of_machine(cls, processes: int = 1) -> DecodeMemory:
        """Creates the default budget: a quarter of the machine's memory, at least 256 MiB and at most 4 GiB.

        Args:
            processes: Processes of the machine that share the quarter.
        """
        return cls(min(max(available_memory() // 4 // processes, _LEAST), _MOST))

    @contextmanager
    def hold(
        self, needed: int, timeout_s: float | None = None, before_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Takes bytes of the budget for the duration of the block.

        Args:
            needed: Bytes, from `decode_cost`.
            timeout_s: Maximum time to wait for them, in seconds; None: as long as it takes.
            before_waiting: Called if it must wait: frees what is held already.

        Raises:
            PictureTooLargeError: More than the whole budget.
            OutOfMemoryError: Other decodes held the budget for all that time; the same picture may succeed later.
        """
        if needed > self.limit:
            raise PictureTooLargeError(
                f"decoding this takes {_mib(needed)} MiB of memory, at most {_mib(self.limit)} MiB are allowed"
            )
        self._take(needed, timeout_s, before_waiting)
        try:
            yield
        finally:
            if needed >= _LARGE:
                trim_heap()  # before the next decode begins
            with self._changed:
                self._free += needed
                self._changed.notify_all()

    def _take(self, needed: int, timeout_s: float | None, before_waiting: Callable[[], object]) -> None:
        with self._changed:
            if not self._waiting and needed <= self._free:
                self._free -= needed
                return
            before_waiting()
            ticket = object()
            self._waiting.append(ticket)
            try:
                if not self._changed.wait_for(lambda: self._waiting[0] is ticket and needed <= self._free, timeout_s):
                    raise OutOfMemoryError(
                        f"decoding this takes {_mib(needed)} MiB of memory, which other pictures use now; "
                        "try again later"
                    )
                self._free -= needed
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()


def _mib(count: int) -> int:
    return -(-count // _MIB)
