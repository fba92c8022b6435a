"""ComputeStream: the one stream on which all lanes' networks run, one batch after the other, in the same memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from azaion_engine.cuda.context import make_stream
from azaion_engine.engines.tensorrt.run.batch_graph import BatchGraph


class ComputeStream:
    """Runs the lanes' batches one after the other.

    On separate streams two networks would share the GPU and end at the same time. The GPU would then be idle while
    all lanes decode and copy, which costs throughput.

    Attributes:
        stream: The `pycuda.driver.Stream` of all networks.
        scratch: Memory that the networks use in turn; `int` gives its address. None after `free`.
    """

    def __init__(self, driver: Any, scratch_bytes: int) -> None:
        """Makes the stream and the memory, in the current CUDA context.

        Args:
            driver: `pycuda.driver`.
            scratch_bytes: See `LoadedPlan`.

        Raises:
            pycuda.driver.Error: Not enough memory.
        """
        self.stream = make_stream(driver)
        self.scratch: Any = driver.mem_alloc(max(scratch_bytes, 1))
        self._driver = driver
        self._lock = threading.Lock()

    def make_event(self) -> Any:
        """Makes an event for `run`."""
        return self._driver.Event(self._driver.event_flags.DISABLE_TIMING)

    def record(self, work: BatchGraph, addresses: Mapping[str, int]) -> None:
        """Prepares a batch graph: runs it once and records it.

        Args:
            work: The batch graph.
            addresses: GPU address by name of every input and output.

        Raises:
            ExecutionFailedError: TensorRT did not start the execution.
        """
        with self._lock:  # calls of another lane on the stream would become a part of the graph
            work.record(addresses, self.stream)

    def run(self, work: BatchGraph, stream: Any, ready: Any, done: Any) -> None:
        """Starts a batch graph after those already started; ordered as if it ran on the lane's stream.

        Args:
            work: The batch graph.
            stream: The lane's stream. Earlier calls on it run before the graph, later ones after it.
            ready: Event of the lane, recorded before the graph.
            done: Event of the lane, recorded after the graph.

        Raises:
            ExecutionFailedError: TensorRT did not start it.
            LibcudaError: The driver did not start it.
        """
        ready.record(stream)
        with self._lock:
            self.stream.wait_for_event(ready)
            work.enqueue(self.stream)
            done.record(self.stream)
        stream.wait_for_event(done)

    def free(self) -> None:
        """Frees the memory; all contexts in it must be freed before."""
        scratch, self.scratch = self.scratch, None
        if scratch is not None:
            scratch.free()
