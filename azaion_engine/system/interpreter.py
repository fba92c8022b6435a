"""Interpreter settings of a process that serves an engine: switch interval and garbage collection."""

from __future__ import annotations

import gc
import sys
import threading

SWITCH_INTERVAL_S = 0.0001
"""Switch interval, seconds: longest wait for the GIL of a thread that returns from the GPU, NumPy or ONNX Runtime.

With Python's default of 5 ms the engine idles while other threads send answers or receive pictures.
"""

_COLLECT_LESS = 10
"""Factor on the garbage collector's first threshold: requests leave almost no reference cycles."""


def switch_threads_quickly() -> None:
    """Sets the interpreter's switch interval to `SWITCH_INTERVAL_S`."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def freeze_garbage() -> None:
    """Exempts all objects that exist now from garbage collection, and makes collections less frequent.

    In a process that has imported Ray, a full collection stops every thread noticeably. Call this once, after
    everything is loaded.
    """
    gc.collect()
    gc.freeze()
    first, *others = gc.get_threshold()
    gc.set_threshold(_COLLECT_LESS * first, *others)


class QuickSwitches:
    """Context manager that sets the switch interval for a while; blocks may overlap, in any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._open:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(SWITCH_INTERVAL_S, self._before))
            self._open += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                sys.setswitchinterval(self._before)


quick_switches = QuickSwitches()
"""The process's only one, as the interval is the process's."""
