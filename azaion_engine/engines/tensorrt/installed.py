"""Installed: which TensorRT this machine has, imported once."""

from __future__ import annotations

import importlib
import threading
from functools import lru_cache

from azaion_engine.engines.tensorrt.api import Flavour, TensorRT
from azaion_engine.errors import MissingDependencyError

_FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "tensorrt_rtx")


@lru_cache(maxsize=1)
def _load() -> TensorRT:
    reasons = []
    for flavour in _FLAVOURS:
        try:
            module = importlib.import_module(flavour)
        except (ImportError, OSError) as error:  # OSError: a library that the wheel needs is missing
            reasons.append(f"{flavour}: {error}")
            continue
        # Type stubs and half-removed wheels leave a folder behind that imports as an empty namespace.
        if not hasattr(module, "Builder"):
            reasons.append(f"{flavour}: installed without its libraries")
            continue
        return TensorRT(module, flavour)
    raise MissingDependencyError(
        "TensorRT is not installed: pip install tensorrt (any NVIDIA GPU) or tensorrt_rtx_cu13 (RTX cards); "
        + "; ".join(reasons)
    )


_load_lock = threading.Lock()


def load() -> TensorRT:
    """Imports `tensorrt`, else `tensorrt_rtx`; every call returns the same object.

    Raises:
        MissingDependencyError: Neither can be imported; the message says how to install them.
    """
    with _load_lock:
        return _load()


def forget() -> None:
    """Clears the cache, so that the next `load` imports again; for tests."""
    _load.cache_clear()
