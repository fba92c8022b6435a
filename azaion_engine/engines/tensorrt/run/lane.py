"""Lane: everything that one batch needs on the GPU, so that another batch can run on another lane."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.context import CudaContext, make_stream
from azaion_engine.cuda.memory import DeviceBuffer, DeviceMemory, is_pinned
from azaion_engine.cuda.staging import Staging
from azaion_engine.engines.tensorrt.io_tensor import IoTensor
from azaion_engine.engines.tensorrt.run.batch_graph import BatchGraph, graph_size
from azaion_engine.engines.tensorrt.run.compute_stream import ComputeStream
from azaion_engine.engines.tensorrt.run.loaded_plan import LoadedPlan
from azaion_engine.engines.tensorrt.run.selection_graph import SelectionGraph
from azaion_engine.errors import AzaionError, ConfigurationError, ModelError
from azaion_engine.heads.base import Head
from azaion_engine.pictures.input_form import DEFAULT_FORM, InputForm
from azaion_engine.pictures.prepared import LoadablePicture

if TYPE_CHECKING:  # only pictures need OpenCV and Pillow
    from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoder
    from azaion_engine.pictures.gpu.loader import PictureLoader
    from azaion_engine.pictures.gpu.surfaces import Surfaces

logger = logging.getLogger(__name__)


class Lane:
    """A stream with its buffers, contexts and graphs; used by one thread at a time, with the CUDA context current.

    Attributes:
        stream: The `pycuda.driver.Stream` of everything but the network.
        batch: Maximum number of rows per execution.
        loader: Loads pictures; None until `open_loader`.
    """

    def __init__(
        self,
        context: CudaContext,
        plan: LoadedPlan,
        compute: ComputeStream,
        batch: int,
        size: tuple[int, ...],
        copiers: Executor,
    ) -> None:
        """Allocates memory and records the graph of a full batch.

        Args:
            context: The CUDA context, current.
            plan: The loaded plan.
            compute: The stream of the networks, and their memory.
            batch: Maximum number of rows per execution, at least the plan's minimum batch size.
            size: Shape of one picture in the network input, e.g. (3, height, width).
            copiers: Threads that fill pinned memory.

        Raises:
            pycuda.driver.Error: Not enough memory.
            ConfigurationError: Not enough memory, as TensorRT reports it.
            ExecutionFailedError: TensorRT refuses the shape.
            ModelError: The size of an output depends on the picture's content.
        """
        self._context, self._plan, self._compute = context, plan, compute
        self.batch, self._size = batch, size
        self._picture = next(tensor for tensor in plan.tensors if tensor.is_input)
        self._smallest = self._picture.profile[0][0]
        self._works: dict[int, BatchGraph] = {}
        self._outputs: list[DeviceBuffer] = []
        self._held: list[DeviceMemory | Staging] = []
        self.loader: PictureLoader | None = None
        self._selector: SelectionGraph | None = None
        self.stream: Any = None
        self._ready: Any = None
        self._done: Any = None
        try:
            self.stream = make_stream(context.driver)
            self._ready, self._done = compute.make_event(), compute.make_event()
            self._input = DeviceMemory(context.driver, (batch, *size), self._picture.dtype)
            self._held.append(self._input)
            self._staging = Staging(context, self.stream, copiers, self._input.bytes)
            self._held.append(self._staging)
            self._make_full_work()
        except BaseException:
            self.free()
            raise

    def open_loader(
        self, take_decoder: Callable[[], JpegDecoder], form: InputForm = DEFAULT_FORM, surfaces: Surfaces | None = None
    ) -> PictureLoader:
        """Prepares for `run_pictures`; must be called once.

        Args:
            take_decoder: See `PictureLoader`.
            form: What the network takes.
            surfaces: The pictures of tiles.

        Raises:
            pycuda.driver.Error: Not enough memory, or the driver does not take the kernel.
        """
        from azaion_engine.pictures.gpu.loader import PictureLoader

        self.loader = PictureLoader(
            self._context.driver, self._input, self._staging, self.stream, take_decoder, form, surfaces
        )
        return self.loader

    def start(self, rows: NDArray[Any]) -> None:
        """Starts a batch of arrays; `collect` waits for it.

        Args:
            rows: `[1…batch, 3, height, width]` by default; must not change until `collect` returns: the GPU may read it
                directly.
        """
        if rows.dtype == self._input.dtype and rows.flags.c_contiguous and is_pinned(rows):
            self._context.driver.memcpy_htod_async(self._input.address, rows, self.stream)
        else:
            self._staging.upload(rows, self._input.address, self._input.dtype)
        self._enqueue(len(rows))
        for output in self._outputs:
            output.download(len(rows), self.stream)

    def collect(self, count: int) -> list[NDArray[Any]]:
        """Waits for the batch of `start`.

        Args:
            count: Rows of that batch.

        Returns:
            One view of pinned memory per output; the next batch overwrites it.
        """
        self.stream.synchronize()
        return [output.host[:count] for output in self._outputs]

    def open_selector(self, head: Head) -> None:
        """Prepares `run_pictures` for a head whose rows the GPU makes; does nothing for others.

        Raises:
            pycuda.driver.Error: Not enough memory, or the driver does not take the kernels.
        """
        raw = head.raw_layout()
        if raw is not None:
            size = (self._size[1], self._size[2])  # pictures come here as planes only
            self._selector = SelectionGraph(self._context.driver, raw, self._output(raw.output), size, self.stream)

    def run_pictures(
        self, pictures: Sequence[LoadablePicture], names: Sequence[str]
    ) -> tuple[list[AzaionError | None], dict[str, NDArray[np.float32]], NDArray[np.float32] | None]:
        """Runs a batch of pictures and waits for it; needs a loader.

        Args:
            pictures: At most `batch`.
            names: Outputs to read, unless the GPU makes the rows.

        Returns:
            For each picture its error or None; then, with one row for each picture without error, the outputs by name,
            or, if the GPU made them, the rows: float32 `[count, k, 6]`, of oriented boxes `[count, k, 7]`, zeros after
            the last.
        """
        assert self.loader is not None
        selector = self._selector
        if selector is not None and not selector.takes([one.selection for one in pictures]):
            selector = None
        errors, arrays = self._run_once(pictures, names, selector)
        doubtful = self.loader.doubtful()
        if doubtful:
            again, others = self._run_once([pictures[i] for i in doubtful], names, selector, on_cpu=True)
            arrays = _replace_rows(errors, arrays, dict(zip(doubtful, again, strict=True)), others)
        self.loader.finish()
        if selector is not None:
            return errors, {}, arrays[0]
        return errors, dict(zip(names, arrays, strict=True)), None

    def _run_once(
        self,
        pictures: Sequence[LoadablePicture],
        names: Sequence[str],
        selector: SelectionGraph | None,
        *,
        on_cpu: bool = False,
    ) -> tuple[list[AzaionError | None], list[NDArray[np.float32]]]:
        """Runs a batch as `run_pictures` does, and waits for it.

        Args:
            pictures: At most `batch`.
            names: Outputs to read, unless the GPU makes the rows.
            selector: Makes the rows; None: the outputs are read.
            on_cpu: Whether the CPU decodes all JPEGs.

        Returns:
            For each picture its error or None; then, with one row for each picture without error, the outputs, or the
            rows alone.
        """
        assert self.loader is not None
        errors = self.loader.load(pictures, on_cpu=on_cpu)
        selections = [one.selection for one, error in zip(pictures, errors, strict=True) if error is None]
        count = len(selections)
        if count:
            self._enqueue(count)
        if selector is not None:
            read = [selector.run(selections) if count else selector.rows]
        else:
            read = [self._output(name) for name in names]
            for output in read if count else []:
                output.download(count, self.stream)
        self.stream.synchronize()
        # Copies: the next batch overwrites the pinned memory.
        return errors, [np.array(output.host[:count], dtype=np.float32) for output in read]

    def _output(self, name: str) -> DeviceBuffer:
        return self._outputs[self._plan.output_names.index(name)]

    def warm_up(self) -> None:
        """Records the graphs of all batch sizes, so that no later batch waits for one."""
        for rows in range(1, self.batch + 1):
            self._work(rows)

    def free(self) -> None:
        """Frees everything; each object goes before what it refers to."""
        for work in set(self._works.values()):
            work.free()
        self._works.clear()
        if self.loader is not None:
            self.loader.free()
            self.loader = None
        if self._selector is not None:
            self._selector.free()
            self._selector = None
        for memory in self._held:
            memory.free()
        self._held.clear()
        self.stream = self._ready = self._done = None

    def _enqueue(self, rows: int) -> None:
        self._compute.run(self._work(rows), self.stream, self._ready, self._done)

    def _work(self, rows: int) -> BatchGraph:
        size = graph_size(rows, self._smallest, self.batch, few=not self._plan.shares)
        if size not in self._works:
            try:
                self._works[size] = self._make_work(size)
                self._compute.record(self._works[size], self._addresses())
            except ConfigurationError as error:
                # Running more rows than needed is slower but correct: the results of the extra rows are ignored.
                logger.warning("batches of %d run as %d: %s", size, self.batch, error)
                self._works[size] = self._works[self.batch]
            except BaseException:
                self._works.pop(size, None)
                raise
        return self._works[size]

    def _make_full_work(self) -> None:
        work = self._works[self.batch] = self._make_work(self.batch)
        for tensor in self._plan.tensors:
            shape = tuple(int(size) for size in work.context.get_tensor_shape(tensor.name))
            if any(size < 0 for size in shape) or shape[0] != self.batch:
                raise ModelError(f"{tensor.name!r} is {list(shape)}: its size must not depend on the picture's content")
            if not tensor.is_input:
                self._outputs.append(DeviceBuffer(self._context.driver, shape, tensor.dtype))
                self._held.append(self._outputs[-1])
        # Must be finite: rows beyond the batch are computed too.
        self._input.clear(self.stream)
        self.stream.synchronize()
        self._compute.record(work, self._addresses())

    def _make_work(self, rows: int) -> BatchGraph:
        context = self._plan.make_context(int(self._compute.scratch))
        return BatchGraph(context, self._picture.name, (rows, *self._size))

    def _addresses(self) -> dict[str, int]:
        outputs = {name: output.address for name, output in zip(self._plan.output_names, self._outputs, strict=True)}
        return {self._picture.name: self._input.address, **outputs}


def _replace_rows(
    errors: list[AzaionError | None],
    arrays: Sequence[NDArray[np.float32]],
    again: Mapping[int, AzaionError | None],
    others: Sequence[NDArray[np.float32]],
) -> list[NDArray[np.float32]]:
    """Puts the result of a second run of some pictures into that of the first.

    Args:
        errors: For each picture of the first run its error or None; gets those of the second.
        arrays: With one row for each picture of the first run without error.
        again: For each picture of the second run, by its index in the first, its error or None; it had none before.
        others: With one row for each picture of the second run without error.

    Returns:
        `arrays`, with one row for each picture that has no error in either.
    """
    places = np.cumsum([error is None for error in errors]) - 1
    replaced = [places[index] for index, error in again.items() if error is None]
    dropped = [places[index] for index, error in again.items() if error is not None]
    for index, error in again.items():
        errors[index] = error
    for array, other in zip(arrays, others, strict=True):
        array[replaced] = other
    return [np.delete(array, dropped, axis=0) for array in arrays]


def picture_input(tensors: Sequence[IoTensor]) -> IoTensor:
    """Returns the only input of a plan.

    Raises:
        ModelError: The plan has no or several inputs, or the input takes no pictures.
    """
    inputs = [tensor for tensor in tensors if tensor.is_input]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or 3 not in (inputs[0].shape[1], inputs[0].shape[3]):
        given = [f"{tensor.name} {list(tensor.shape)}" for tensor in inputs]
        raise ModelError(
            f"expected one input [batch, 3, height, width] or [batch, height, width, 3], the plan has {given}"
        )
    return inputs[0]
