"""CudaGraph: a batch's hundreds of kernel launches recorded once and started with one call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

# PyCUDA (2026.1) does not wrap graphs: these six functions of the driver are all that is needed (cuda.h).
_CAPTURE_MODE_THREAD_LOCAL = 1
"""What other threads do meanwhile, decoding above all, does not spoil the recording."""


class CudaGraph:
    """A recorded piece of work with all its addresses; one thread at a time starts it."""

    def __init__(self, stream: Any, enqueue: Callable[[], None]) -> None:
        """Records what a function puts on a stream; nothing of it runs yet.

        Args:
            stream: A `pycuda.driver.Stream`, not the default one, with its context current.
            enqueue: Puts the work on that stream; must not synchronise or allocate.

        Raises:
            CudaGraphError: The work cannot be recorded; the stream is as before.
        """
        handle = ctypes.c_void_p(stream.handle)
        graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()
        _call("cuStreamBeginCapture_v2", handle, _CAPTURE_MODE_THREAD_LOCAL)
        try:
            try:
                enqueue()
            finally:
                _call("cuStreamEndCapture", handle, ctypes.byref(graph))
            _call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        finally:
            if graph:
                _call("cuGraphDestroy", graph)

    def launch(self, stream: Any) -> None:
        """Starts the work on a stream.

        Raises:
            CudaGraphError: It did not start.
        """
        _call("cuGraphLaunch", self._executable, ctypes.c_void_p(stream.handle))

    def free(self) -> None:
        """Gives its memory back, in the context that it was recorded in; a second call does nothing."""
        if self._executable:
            _call("cuGraphExecDestroy", self._executable)
            self._executable = ctypes.c_void_p()


class CudaGraphError(Exception):
    """The driver refused; carries the function and the name of its error."""


def _call(function: str, *arguments: Any) -> None:
    driver = load_libcuda()
    status = getattr(driver, function)(*arguments)
    if status:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(status, ctypes.byref(name))
        raise CudaGraphError(f"{function} failed: {(name.value or b'error').decode()} ({status})")


@lru_cache(maxsize=1)
def load_libcuda() -> Any:
    """Returns the driver's own library, which PyCUDA has loaded already."""
    return ctypes.CDLL("libcuda.so.1")
