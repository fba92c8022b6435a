"""Client of a shared engine: `SharedEngine` hands pictures to the host process that owns the engine."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.engines.shared import wire as engine_wire
from azaion_engine.engines.shared.host_link import HostLink
from azaion_engine.engines.shared.start import MakeOpener, start_unless_running
from azaion_engine.errors import AzaionError, EngineClosedError, ExecutionError, GpuLostError
from azaion_engine.files.private_folder import private_folder
from azaion_engine.pictures.prepared import HeldPicture, JpegPicture, LoadablePicture, PictureForm, Selection

logger = logging.getLogger(__name__)

HEALTH_PERIOD_S = 1.0
"""Seconds between two health checks."""

STARTS, PAUSE_S = 3, 1.0
"""Attempts to start another host after one was lost, and the seconds between them: the driver frees its memory late."""


class SharedEngine(InferenceEngine):
    """Engine in a host process, which runs the pictures of all its clients in common batches.

    A GPU runs more pictures than one Python interpreter can receive, check and answer. With a shared engine, several
    interpreters feed one network, which takes GPU memory once. A lost host costs the calls that it had; one client
    starts another, to which all connect.
    """

    def __init__(self, path: Path, start_again: Callable[[], None] | None = None) -> None:
        """Connects to a running host.

        Args:
            path: The host's Unix socket.
            start_again: Starts another host there unless one listens; called in a thread of its own after this one is
                lost. None: the engine stays lost.

        Raises:
            OSError: No host listens there.
            GpuLostError: The host has lost its GPU.
        """
        super().__init__()
        self._path = path
        self._start_again = start_again
        self._for_good = start_again is None
        self._wake = threading.Event()
        self._link = HostLink(path, self._wake.set)
        self.origin, self.choice = self._link.card.origin, self._link.card.choice
        self._watch = threading.Thread(target=self._watch_host, name="engine host", daemon=True)
        self._watch.start()

    @classmethod
    def open(
        cls, make_opener: MakeOpener, key: str, on_gpu: bool = False, make_again: MakeOpener | None = None
    ) -> SharedEngine:
        """Connects to the host of a key, or starts it; waits while another process does, and while the engine opens.

        Args:
            make_opener: Returns the function that opens the engine in the host; called while a new host starts. The
                function is pickled, so it must be a function of a module or a `partial` of one.
            key: Identifies the engine; must contain everything that the engine depends on.
            on_gpu: Whether the engine may use a GPU; a new host then creates the CUDA context at once.
            make_again: The same for a host that must be started later, because this one was lost; kept as long as the
                engine, so it should hold no model. Default: `make_opener`.

        Raises:
            ConfigurationError: The folder for sockets is not private to this user.
            ExecutionError: The host ended before it could answer; its log says why.
            AzaionError: `make_opener` or the opener failed.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        path = private_folder() / name
        start_unless_running(make_opener, path, on_gpu)
        try:
            return cls(path, partial(start_unless_running, make_again or make_opener, path, on_gpu))
        except OSError as gone:
            raise ExecutionError(f"the process that runs the engine ended right after its start: {gone}") from gone

    @property
    def name(self) -> str:
        """Name of the host's engine."""
        return self._link.card.name

    @property
    def host(self) -> int:
        """Process ID of the host."""
        return self._link.card.host

    @property
    def lanes(self) -> int:
        """One more than the host's engine has: the next pictures are there when a batch of all clients ends."""
        return self._link.card.lanes + 1

    @property
    def smallest_second(self) -> int:
        """An eighth of a batch: the host adds other clients' pictures. Smaller ones would need too many messages."""
        return max(1, self.get_batch_size() // 8)

    def get_input_shape(self) -> tuple[int, int]:
        """Returns (height, width) of the network input, in pixels."""
        return self._link.card.input_shape

    def get_batch_size(self) -> int:
        """Returns the maximum number of rows per execution."""
        return self._link.card.batch_size

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the host's outputs."""
        return self._link.card.output_names

    def open_pictures(self) -> PictureForm:
        """Returns the form in which the engine takes pictures; the host prepared it at its start."""
        return self._link.card.form

    def hold(self, picture: JpegPicture) -> HeldPicture | None:
        """Lets the host hold a picture, as in `InferenceEngine`; it does so as long as a connection is open for it."""
        if self._link.card.form is not PictureForm.JPEG:
            return None
        return self._link.hold(picture)

    def warm_up(self) -> None:
        """Does nothing: the host has warmed up the engine."""

    def check_health(self) -> None:
        """Raises an error if the host is lost and no other could be started.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The host is lost for good.
        """
        super().check_health()
        lost = self._link.lost
        if lost and self._for_good:
            raise GpuLostError(lost)

    def check_ready(self) -> None:
        """Raises an error while the host is lost; a separate thread asks it once a second, and starts another.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost, or the host has ended or does not answer.
        """
        super().check_ready()
        if lost := self._link.lost:
            raise GpuLostError(lost)

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._link.call("run", data)
        return outputs

    def _run_arrays(self, data: NDArray[Any], selections: Sequence[Selection | None]) -> list[NDArray[np.float32]]:
        """Runs arrays; rows are made in the host, because raw outputs are large."""
        rows: list[NDArray[np.float32]] = self._link.call("run_arrays", data, list(selections))
        return rows

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> Sequence[Found]:
        """Runs pictures, in batches with those of other clients."""
        found: list[Found] = self._link.call("run_pictures", [engine_wire.to_send(picture) for picture in pictures])
        return found

    def _watch_host(self) -> None:
        while not self._closed and not (self._link.lost and self._for_good):
            if self._link.lost:
                self._revive()
                continue
            if self._wake.wait(HEALTH_PERIOD_S):  # lost or closed
                self._wake.clear()
                continue
            try:
                self._link.check_health()
            except AzaionError as error:
                if not isinstance(error, (GpuLostError, EngineClosedError)):
                    logger.warning("the engine's health check failed: %s", error)

    def _revive(self) -> None:
        """Connects to another host, which the first client that comes here starts."""
        assert self._start_again is not None
        old = self._link
        logger.warning("%s; starting another", old.lost)
        begun = time.monotonic()
        for left in reversed(range(STARTS)):
            try:
                self._start_again()
                new = HostLink(self._path, self._wake.set)
                break
            except Exception as error:  # the opener's own
                if not left or self._closed:
                    self._give_up(f"{old.lost}; another could not be started: {error}")
                    return
                time.sleep(PAUSE_S)
        if new.card.promises != old.card.promises:
            new.close()
            self._give_up(f"{old.lost}; another one has an engine of other properties")
            return
        self._wake.clear()
        self._link = new
        old.end()
        if self._closed:  # meanwhile: it has closed the old link
            new.close()
        logger.warning("process %d runs the engine, %.1f s after the loss", new.card.host, time.monotonic() - begun)

    def _give_up(self, why: str) -> None:
        self._link.lost, self._for_good = why, True
        logger.error("%s", why)

    def _release(self) -> None:
        self._wake.set()
        self._link.close()
