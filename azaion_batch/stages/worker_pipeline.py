"""Pipeline of a worker: the pictures of all its calls, one after the other, in batches that do not end with a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from azaion_engine.errors import (
    AzaionError,
    ConfigurationError,
    EngineClosedError,
    GpuLostError,
    MissingDependencyError,
    ModelError,
)

if TYPE_CHECKING:
    from azaion_engine.results.detections import Detections

Load = Callable[[], Any]
"""Returns a picture, in a thread that prepares."""

OF_THE_WORKER = (GpuLostError, EngineClosedError)
"""Errors after which only a new process helps."""
OF_NO_PICTURE = (*OF_THE_WORKER, ModelError, ConfigurationError, MissingDependencyError)
"""Errors that every other picture would meet, too."""

_IDLE_S = 0.02
"""Seconds without a call after which the last batch runs as it is; the next call then begins anew."""


class _Call:
    """Pictures that wait for their results."""

    def __init__(self, loads: Sequence[Load]) -> None:
        self.loads = loads
        self.found: list[Detections | AzaionError] = []
        self.answer: Future[list[Detections | AzaionError]] = Future()


class WorkerPipeline:
    """Detects in the pictures of several calls at once."""

    def __init__(self, each: Callable[[Iterator[Load]], Iterator[Detections | AzaionError]]) -> None:
        """Takes what yields a result for each picture, in their order; it consumes them as needed."""
        self._each = each
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._waiting: deque[_Call] = deque()  # of which pictures were handed in, in that order
        self._asked: deque[Load] = deque()  # of these, without a result
        self._thread = ThreadPoolExecutor(1, "pipeline")

    def detect(self, loads: Sequence[Load]) -> list[Detections | AzaionError]:
        """Returns what was found in each picture, or its error; called from several threads.

        After a batch that failed, the pictures that are in the pipeline then run one by one.

        Raises:
            Exception: It is of no single picture; every call that waits raises it.
        """
        if not loads:
            return []
        call = _Call(loads)
        self._calls.put(call)
        self._thread.submit(self._run)
        return call.answer.result()

    def _run(self) -> None:
        """Answers calls until none has come for a moment; most find that the run before them answered theirs."""
        if self._calls.empty():
            return
        loads = self._loads()
        try:
            while not self._is_through(loads):
                for load in list(self._asked):
                    self._answer(self._alone(load))
        except BaseException as error:  # whatever it is, a call that nobody answers would wait for ever
            self._fail(error)

    def _is_through(self, loads: Iterator[Load]) -> bool:
        """Returns whether all pictures have a result; else a batch failed."""
        try:
            for found in self._each(loads):
                self._answer(found)
        except OF_NO_PICTURE:
            raise
        except AzaionError:  # of one picture in a batch: the others' boxes are not lost
            if not self._asked:
                raise
            return False
        return True

    def _loads(self) -> Iterator[Load]:
        with suppress(Empty):
            while True:
                call = self._calls.get(timeout=_IDLE_S)
                self._waiting.append(call)
                for load in call.loads:
                    self._asked.append(load)
                    yield load

    def _alone(self, load: Load) -> Detections | AzaionError:
        try:
            [found] = self._each(iter([load]))
        except OF_NO_PICTURE:
            raise
        except AzaionError as error:
            return error
        return found

    def _answer(self, found: Detections | AzaionError) -> None:
        self._asked.popleft()
        call = self._waiting[0]
        call.found.append(found)
        if len(call.found) == len(call.loads):
            self._waiting.popleft()
            call.answer.set_result(call.found)

    def _fail(self, error: BaseException) -> None:
        while not self._calls.empty():
            self._waiting.append(self._calls.get())
        for call in self._waiting:
            call.answer.set_exception(error)
        self._waiting.clear()
        self._asked.clear()
