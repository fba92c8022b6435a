"""BatchGraph: the network's execution for one number of rows, recorded as a CUDA graph where possible."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from azaion_engine.cuda.graph import CudaGraph
from azaion_engine.cuda.libcuda import LibcudaError

logger = logging.getLogger(__name__)


def graph_size(rows: int, smallest: int, largest: int, few: bool = False) -> int:
    """Returns the smallest graph size, in rows, that a batch fits into.

    Args:
        rows: Rows of the batch, 1…largest.
        smallest: Minimum batch size of the plan.
        largest: Maximum batch size of the engine.
        few: Whether graphs are costly. Then sizes are powers of two and the largest; else also 3/4 of each power.
    """
    size = 1 << (rows - 1).bit_length()
    if not few and rows <= size * 3 // 4:
        size = size * 3 // 4
    return min(max(size, smallest), largest)


class ExecutionFailedError(Exception):
    """TensorRT refused a shape or an execution, without a CUDA error."""


class BatchGraph:
    """An execution context with fixed shape and addresses, as a CUDA graph needs it."""

    def __init__(self, context: Any, picture_input: str, shape: tuple[int, ...]) -> None:
        """Takes over a context.

        Args:
            context: TensorRT's execution context; nothing else may use it.
            picture_input: Name of the network's input.
            shape: Full shape of that input.

        Raises:
            ExecutionFailedError: TensorRT refuses the shape.
        """
        self.context = context
        self._graph: CudaGraph | None = None
        if not context.set_input_shape(picture_input, shape):
            raise ExecutionFailedError(f"TensorRT refuses the input shape {list(shape)}")

    def record(self, addresses: Mapping[str, int], stream: Any) -> None:
        """Binds the memory, runs once, and records a CUDA graph; works without the graph if recording fails.

        Args:
            addresses: GPU address by name of every input and output.
            stream: The `pycuda.driver.Stream` to run on.

        Raises:
            ExecutionFailedError: TensorRT did not start the execution.
        """
        for name, address in addresses.items():
            self.context.set_tensor_address(name, address)
        # TensorRT's first execution with a shape allocates and synchronises, which a graph cannot record.
        self._execute(stream)
        stream.synchronize()
        try:
            self._graph = CudaGraph(stream, lambda: self._execute(stream))
        except (LibcudaError, ExecutionFailedError) as error:
            logger.warning("no CUDA graph, each batch is launched kernel by kernel: %s", error)

    def enqueue(self, stream: Any) -> None:
        """Starts the execution.

        Raises:
            ExecutionFailedError: TensorRT did not start it.
            LibcudaError: The driver did not start it.
        """
        if self._graph is None:
            self._execute(stream)
        else:
            self._graph.launch(stream)

    def free(self) -> None:
        """Frees the graph, then the context."""
        if self._graph is not None:
            self._graph.free()
        self._graph = self.context = None

    def _execute(self, stream: Any) -> None:
        if not self.context.execute_async_v3(stream.handle):
            raise ExecutionFailedError("TensorRT did not start the execution")
