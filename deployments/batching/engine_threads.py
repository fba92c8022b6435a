"""EngineThreads: prepares one batch while others run, and starts it as soon as one of them ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")
Result = TypeVar("Result")
Done = Callable[[Result | Exception], object]


class EngineThreads(Generic[Batch, Result]):
    """Runs as many batches concurrently as the engine has lanes, on one thread more; another thread delivers results.

    The thread that ends a batch starts the next one itself: another thread would first have to wait for the GIL, which
    the event loop holds while it sends answers. For the same reason that thread does not wake the event loop itself
    when a batch waits: it would have to wait for the GIL again.
    """

    def __init__(self, lanes: int, prepare: Callable[[Batch], None], run: Callable[[Batch], Result]) -> None:
        """Creates the thread pools; starts no thread yet.

        Args:
            lanes: Number of batches that run concurrently.
            prepare: Prepares a batch. An error of it or of `run` is the outcome of that batch alone.
            run: Runs a prepared batch.
        """
        self._prepare = prepare
        self._run = run
        self._threads = ThreadPoolExecutor(lanes + 1, "engine")
        self._answers = ThreadPoolExecutor(1, "answers")
        self._lock = threading.Lock()
        self._lanes = self._free = lanes
        self._ready: deque[tuple[Batch, Done[Result]]] = deque()

    @property
    def idle(self) -> bool:
        """Whether no batch runs."""
        return self._free == self._lanes

    def submit(self, batch: Batch, done: Done[Result]) -> None:
        """Submits a batch; submit at most one more than there are lanes, or it waits for a thread to prepare it.

        Args:
            batch: Runs even if no caller waits for it any more.
            done: Called once, on one of the threads, with the result of `run` or the exception.
        """
        self._threads.submit(self._work, batch, done)

    def call(self, function: Callable[[], object]) -> None:
        """Calls a function on one of the threads and waits for it."""
        self._threads.submit(function).result()

    def close(self) -> None:
        """Ends the threads after all submitted work."""
        self._threads.shutdown(wait=True)
        self._answers.shutdown(wait=True)

    def _work(self, batch: Batch, done: Done[Result]) -> None:
        try:
            self._prepare(batch)
        except Exception as error:
            done(error)
            return
        with self._lock:
            if not self._free:
                self._ready.append((batch, done))
                return
            self._free -= 1
        while True:
            outcome = self._outcome(batch)
            with self._lock:
                if not self._ready:
                    self._free += 1
                    break
                following = self._ready.popleft()
            self._answers.submit(done, outcome)
            batch, done = following
        done(outcome)

    def _outcome(self, batch: Batch) -> Result | Exception:
        """Runs a batch and returns its exception, if any: a batch without an outcome would block the gate for ever."""
        try:
            return self._run(batch)
        except Exception as error:
            return error
