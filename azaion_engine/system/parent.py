"""Parent: a process that ends with the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def signal_with_parent(parent: int, number: signal.Signals) -> bool:
    """Has Linux signal this process when the thread that started it ends, however that happens.

    Args:
        parent: Process ID of the one that started it.
        number: The signal.

    Returns:
        Whether that process runs still; if not, no signal comes.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent
