"""SelectionGraph: the rows of a raw head made on the GPU, recorded as CUDA graphs where possible."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from azaion_engine.cuda.graph import CudaGraph
from azaion_engine.cuda.libcuda import LibcudaError
from azaion_engine.cuda.memory import DeviceBuffer, DeviceMemory
from azaion_engine.engines.tensorrt.run.batch_graph import graph_size
from azaion_engine.heads.base import RawLayout
from azaion_engine.heads.gpu.select_kernel import SelectKernel
from azaion_engine.pictures.prepared import MOST_BOXES, Selection

logger = logging.getLogger(__name__)


class SelectionGraph:
    """Threshold and suppression of a batch, both copies included, started with one call.

    Not a part of the network's graph: suppression takes one block of threads a picture, so the next lane's network runs
    beside it. On the one stream of all networks, that network would wait for it.
    """

    def __init__(self, driver: Any, raw: RawLayout, output: DeviceMemory, size: tuple[int, int], stream: Any) -> None:
        """Loads the kernels, runs them once, and records a graph for each of a few batch sizes.

        Works without graphs if recording fails; the log says so.

        Args:
            driver: The module `pycuda.driver`.
            raw: What the network's output means.
            output: That output; its address stays.
            size: (height, width) of the network input, in pixels.
            stream: The lane's `pycuda.driver.Stream`.

        Raises:
            pycuda.driver.Error: Not enough memory, or the driver does not take the kernels.
        """
        self._kernel = SelectKernel(driver, raw, output, size, MOST_BOXES, stream)
        self._batch, self._stream = output.shape[0], stream
        self._graphs: dict[int, CudaGraph] = {}
        try:
            self._kernel.want([])
            # The driver loads a kernel at its first launch, which a graph may not record.
            self._kernel.enqueue(self._batch, stream)
            stream.synchronize()
            self._record((LibcudaError, driver.Error))
        except BaseException:
            self.free()
            raise

    @property
    def rows(self) -> DeviceBuffer:
        """Where `run` makes the rows."""
        rows: DeviceBuffer = self._kernel.rows
        return rows

    def takes(self, selections: Sequence[Selection | None]) -> bool:
        """Returns whether there is room for the boxes that each picture may have."""
        return self._kernel.takes(selections)

    def run(self, selections: Sequence[Selection | None]) -> DeviceBuffer:
        """Starts making a batch's rows, on the lane's stream; the batch before must be done.

        Args:
            selections: One for each picture, at least one; `takes` them.

        Returns:
            The rows as `SelectKernel.rows` describes them; `host` has them when the stream is done.

        Raises:
            LibcudaError: The driver did not start it.
        """
        self._kernel.want(selections)
        size = graph_size(len(selections), 1, self._batch)
        if size in self._graphs:
            self._graphs[size].launch(self._stream)
        else:
            self._kernel.enqueue(size, self._stream)
        return self.rows

    def free(self) -> None:
        """Frees the graphs, then what they use; a second call does nothing."""
        for graph in self._graphs.values():
            graph.free()
        self._graphs.clear()
        self._kernel.free()

    def _record(self, refusals: tuple[type[Exception], ...]) -> None:
        for size in sorted({graph_size(rows, 1, self._batch) for rows in range(1, self._batch + 1)}):
            try:
                self._graphs[size] = CudaGraph(self._stream, partial(self._kernel.enqueue, size, self._stream))
            except refusals as error:
                logger.warning("no CUDA graph, each selection of boxes is launched kernel by kernel: %s", error)
                return
