"""CudaGraph: the many kernel launches of a batch, recorded once and started with one call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from azaion_engine.cuda.libcuda import call

_CAPTURE_MODE_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL (cuda.h): calls in other threads (decoding) do not abort the recording."""


class CudaGraph:
    """A recorded CUDA graph with fixed addresses; only one thread at a time may launch it."""

    def __init__(self, stream: Any, enqueue: Callable[[], None]) -> None:
        """Records the work that a function enqueues on a stream; does not run it.

        Args:
            stream: A `pycuda.driver.Stream`, not the default one; its context must be current.
            enqueue: Enqueues the work on that stream; must not synchronise or allocate.

        Raises:
            LibcudaError: The work cannot be recorded; the stream is unchanged.
        """
        handle = ctypes.c_void_p(stream.handle)
        graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()
        call("cuStreamBeginCapture_v2", handle, _CAPTURE_MODE_THREAD_LOCAL)
        try:
            try:
                enqueue()
            finally:
                call("cuStreamEndCapture", handle, ctypes.byref(graph))
            call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        finally:
            if graph:
                call("cuGraphDestroy", graph)

    def launch(self, stream: Any) -> None:
        """Launches the graph on a stream.

        Raises:
            LibcudaError: The launch failed.
        """
        call("cuGraphLaunch", self._executable, ctypes.c_void_p(stream.handle))

    def free(self) -> None:
        """Frees the graph; the context of its recording must be current. A second call does nothing."""
        if self._executable:
            call("cuGraphExecDestroy", self._executable)
            self._executable = ctypes.c_void_p()
