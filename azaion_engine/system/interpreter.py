"""Settings of the Python interpreter that a process which serves an engine needs: thread switches and garbage."""

from __future__ import annotations

import gc
import sys

SWITCH_INTERVAL_S = 0.0001
"""Longest time that another thread keeps the GIL from one that comes back from the GPU, NumPy or ONNX Runtime.

With Python's own 5 ms the engine stands still while a batch's answers are sent, or pictures are received.
"""

_COLLECT_LESS = 10
"""Factor on the garbage collector's first threshold: a request leaves next to no cycles behind."""


def switch_threads_quickly() -> None:
    """Sets the process's switch interval to `SWITCH_INTERVAL_S`."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def freeze_garbage() -> None:
    """Exempts every object that is alive now from garbage collection, and collects less often.

    A full collection of a process that has imported Ray stops every thread for tens of milliseconds. Call it once, when
    everything is loaded.
    """
    gc.collect()
    gc.freeze()
    first, *others = gc.get_threshold()
    gc.set_threshold(_COLLECT_LESS * first, *others)
