"""Gatherer: combines the pictures of several clients into full batches."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.errors import EngineClosedError
from azaion_engine.pictures.prepared import LoadablePicture, PreparedBatch

CLOSE_S = 10.0
"""Timeout for each thread on closing, seconds; longer than any batch, except on a GPU that hangs."""

FIRST_S = 1.0
"""Assumed duration of a batch until one has ended, seconds."""

COLLECTING = 0.7
"""Share of the previous batch's duration for which a batch that is not full keeps collecting.

With a smaller share the GPU runs more and smaller batches, which take longer for each picture; with a larger one too
little time is left for decoding. Full batches do not depend on it (benchmarks/results/h200_host.json).
"""


Done = Callable[[list[Found] | Exception], object]


class _Request:
    def __init__(self, pictures: Sequence[LoadablePicture], done: Done) -> None:
        self.pictures = pictures
        self.done = done
        self.taken = 0
        self.found: list[Any] = [None] * len(pictures)
        self.missing = len(pictures)
        self.failed = False


_Place = tuple[_Request, int]


class Gatherer:
    """Runs pictures in order of arrival, on as many threads as the engine has lanes.

    An idle engine takes all waiting pictures at once. While a batch runs, the next one starts when it is full, or when
    the running batch has taken `COLLECTING` of the previous batch's duration. While more run, only a full one starts.
    """

    def __init__(self, engine: InferenceEngine) -> None:
        """Starts the threads; the gatherer does not close the engine."""
        self._engine = engine
        self._batch = engine.get_batch_size()
        self._requests: deque[_Request] = deque()
        self._waiting = 0
        self._running = 0
        self._began = 0.0
        self._took = FIRST_S
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"lane {lane}", daemon=True) for lane in range(engine.lanes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, pictures: Sequence[LoadablePicture], done: Done) -> None:
        """Runs pictures in batches with those of other calls; does not wait.

        Args:
            pictures: Any number.
            done: Called once, on any thread, with the result of each picture, or with EngineClosedError if the gatherer
                was closed, or GpuLostError.
        """
        if not pictures:
            done([])
            return
        request = _Request(pictures, done)
        with self._changed:
            if not self._closed:
                self._requests.append(request)
                self._waiting += len(pictures)
                # Otherwise a thread already waits with the right timeout; waking another would only cost the GIL.
                if self._can_begin() or self._waiting == len(pictures):
                    self._changed.notify()
                return
        done(EngineClosedError(f"{self._engine.name}: the engine is closed"))

    def close(self) -> None:
        """Ends the threads once all submitted pictures have run; abandons a thread after `CLOSE_S`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(CLOSE_S)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._can_begin():
                    self._changed.wait(self._collecting_s() if self._waiting and self._running == 1 else None)
                if not self._waiting:
                    return  # closed
                places = self._take()
                self._running += 1
                began = self._began = time.monotonic()
                if self._waiting:
                    self._changed.notify()
            self._run(places)
            with self._changed:
                self._took = time.monotonic() - began
                self._running -= 1  # no notify: this thread starts the next batch

    def _can_begin(self) -> bool:
        if self._closed or not self._waiting or not self._running:
            return self._closed or self._waiting > 0
        return self._waiting >= self._batch or (self._running == 1 and self._collecting_s() <= 0)

    def _collecting_s(self) -> float:
        return max(0.0, self._began + self._took * COLLECTING - time.monotonic())

    def _take(self) -> list[_Place]:
        places: list[_Place] = []
        while self._requests and len(places) < self._batch:
            request = self._requests[0]
            end = min(len(request.pictures), request.taken + self._batch - len(places))
            places += [(request, index) for index in range(request.taken, end)]
            request.taken = end
            if end == len(request.pictures):
                self._requests.popleft()
        self._waiting -= len(places)
        return places

    def _run(self, places: list[_Place]) -> None:
        batch = PreparedBatch([request.pictures[index] for request, index in places])
        counts = Counter(request for request, _ in places)
        try:
            found = self._engine.run_pictures(batch)
        except Exception as error:  # the engine is lost or closed
            for request in counts:
                self._fail(request, error)
            return
        for (request, index), rows in zip(places, found, strict=True):
            request.found[index] = rows
        over = []
        with self._changed:
            for request, count in counts.items():
                request.missing -= count
                if request.missing == 0 and not request.failed:
                    over.append(request)
        for request in over:
            request.done(request.found)

    def _fail(self, request: _Request, error: Exception) -> None:
        with self._changed:
            if request in self._requests:  # its later pictures need not be run
                self._requests.remove(request)
                self._waiting -= len(request.pictures) - request.taken
            if request.failed:
                return
            request.failed = True
        request.done(error)
