"""Interpreter settings of a process that serves an engine: switch interval and garbage collection."""

from __future__ import annotations

import gc
import sys

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
