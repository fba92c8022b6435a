"""CudaGraph: a batch's hundreds of kernel launches recorded once and started with one call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from azaion_engine.cuda.libcuda import call

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
            LibcudaError: The work cannot be recorded; the stream is as before.
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
        """Starts the work on a stream.

        Raises:
            LibcudaError: It did not start.
        """
        call("cuGraphLaunch", self._executable, ctypes.c_void_p(stream.handle))

    def free(self) -> None:
        """Gives its memory back, in the context that it was recorded in; a second call does nothing."""
        if self._executable:
            call("cuGraphExecDestroy", self._executable)
            self._executable = ctypes.c_void_p()
