"""The real TensorRT-RTX, of which a test process has one."""

from __future__ import annotations

from functools import lru_cache

import pytest

from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.api import TensorRT


@lru_cache(maxsize=1)
def _only() -> TensorRT:
    import tensorrt_rtx

    return TensorRT(tensorrt_rtx, "tensorrt_rtx")


def install_rtx(monkeypatch: pytest.MonkeyPatch) -> TensorRT:
    """Makes `installed.load` return the real TensorRT-RTX; it is part of the test extra, so its absence is an error.

    The object is the same for all tests of a process: TensorRT keeps the first logger it is given, and warns once of
    another, which would be a line of output that only the second of two modules has.
    """
    monkeypatch.setattr(installed, "_load", lru_cache(maxsize=1)(_only))
    return installed.load()
