"""Client of a shared engine: `SharedEngine` hands pictures to the host process that owns the engine."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.engines.shared import wire as engine_wire
from azaion_engine.engines.shared.host import EngineCard
from azaion_engine.engines.shared.host_process import ON_GPU
from azaion_engine.errors import EngineClosedError, ExecutionError, GpuLostError
from azaion_engine.files.private_folder import private_folder
from azaion_engine.pictures.prepared import LoadablePicture, PictureForm, Selection
from azaion_engine.system.patient_lock import PatientLock

logger = logging.getLogger(__name__)

HEALTH_PERIOD_S = 1.0
HEALTH_S = 20.0
"""Health-check timeout, seconds."""

OpenEngine = Callable[[], InferenceEngine]


class SharedEngine(InferenceEngine):
    """Engine in a host process, which runs the pictures of all its clients in common batches.

    A GPU runs more pictures than one Python interpreter can receive, check and answer. With a shared engine, several
    interpreters feed one network, which takes GPU memory once.
    """

    def __init__(self, path: Path) -> None:
        """Connects to a running host.

        Args:
            path: The host's Unix socket.

        Raises:
            OSError: No host listens there.
            GpuLostError: The host has lost its GPU.
        """
        super().__init__()
        self._path = path
        self._lost = ""
        self._free: list[socket.socket] = []
        self._guard = threading.Lock()
        self._over = threading.Event()
        # Separate connection for health checks, so that they never wait behind a batch.
        self._control = self._connect()
        self._control.settimeout(HEALTH_S)
        try:
            self._card: EngineCard = self._exchange(self._control, "card")
        except BaseException:
            self._control.close()
            raise
        self.origin, self.choice = self._card.origin, self._card.choice
        self._watch = threading.Thread(target=self._watch_host, name="engine host", daemon=True)
        self._watch.start()

    @classmethod
    def open(cls, make_opener: Callable[[], OpenEngine], key: str, on_gpu: bool = False) -> SharedEngine:
        """Connects to the host of a key, or starts it; waits while another process does, and while the engine opens.

        Args:
            make_opener: Returns the function that opens the engine in the host; called while a new host starts. The
                function is pickled, so it must be a function of a module or a `partial` of one.
            key: Identifies the engine; must contain everything that the engine depends on.
            on_gpu: Whether the engine may use a GPU; a new host then creates the CUDA context at once.

        Raises:
            ConfigurationError: The folder for sockets is not private to this user.
            ExecutionError: The host ended before it could answer; its log says why.
            AzaionError: `make_opener` or the opener failed.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        path = private_folder() / name
        lock = PatientLock(path.with_suffix(".lock"))
        lock.acquire(lambda _: logger.info("waiting for another process that starts or builds the engine"))
        try:
            return cls._join_or_start(make_opener, path, on_gpu)
        finally:
            lock.release()

    @classmethod
    def _join_or_start(cls, make_opener: Callable[[], OpenEngine], path: Path, on_gpu: bool) -> SharedEngine:
        try:
            return cls(path)
        except (OSError, GpuLostError):
            _start(make_opener, path, on_gpu)
        try:
            return cls(path)
        except OSError as gone:
            raise ExecutionError(f"the process that runs the engine ended right after its start: {gone}") from gone

    @property
    def name(self) -> str:
        """Name of the host's engine."""
        return self._card.name

    @property
    def host(self) -> int:
        """Process ID of the host."""
        return self._card.host

    @property
    def lanes(self) -> int:
        """One more than the host's engine has: the next pictures are there when a batch of all clients ends."""
        return self._card.lanes + 1

    @property
    def smallest_second(self) -> int:
        """An eighth of a batch: the host adds other clients' pictures. Smaller ones would need too many messages."""
        return max(1, self.get_batch_size() // 8)

    def get_input_shape(self) -> tuple[int, int]:
        """Returns (height, width) of the network input, in pixels."""
        return self._card.input_shape

    def get_batch_size(self) -> int:
        """Returns the maximum number of rows per execution."""
        return self._card.batch_size

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the host's outputs."""
        return self._card.output_names

    def open_pictures(self) -> PictureForm:
        """Returns the form in which the engine takes pictures; the host prepared it at its start."""
        return self._card.form

    def warm_up(self) -> None:
        """Does nothing: the host has warmed up the engine."""

    def check_health(self) -> None:
        """Raises an error if the last health check failed; a separate thread asks the host once a second.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost, or the host has ended or does not answer.
        """
        super().check_health()
        if self._lost:
            raise GpuLostError(self._lost)

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._call("run", data)
        return outputs

    def _run_arrays(self, data: NDArray[Any], selections: Sequence[Selection | None]) -> list[NDArray[np.float32]]:
        """Runs arrays; rows are made in the host, because raw outputs are large."""
        rows: list[NDArray[np.float32]] = self._call("run_arrays", data, list(selections))
        return rows

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> Sequence[Found]:
        """Runs pictures, in batches with those of other clients."""
        found: list[Found] = self._call("run_pictures", [engine_wire.to_send(picture) for picture in pictures])
        return found

    def _watch_host(self) -> None:
        with suppress(GpuLostError, EngineClosedError):
            while not self._over.wait(HEALTH_PERIOD_S):
                self._exchange(self._control, "check_health")

    def _release(self) -> None:
        self._over.set()
        with self._guard:
            connections, self._free = [self._control, *self._free], []
        for connection in connections:
            connection.close()

    def _call(self, method: str, *arguments: Any) -> Any:
        """Calls the host on a connection that no other thread uses meanwhile."""
        if self._closed:
            raise EngineClosedError(f"{self.name}: the engine is closed")
        if self._lost:
            raise GpuLostError(self._lost)
        with self._guard:
            connection = self._free.pop() if self._free else None
        try:
            connection = connection or self._connect()
        except OSError as gone:
            raise self._remember_lost(gone) from gone
        try:
            return self._exchange(connection, method, *arguments)
        finally:
            self._keep(connection)

    def _exchange(self, connection: socket.socket, method: str, *arguments: Any) -> Any:
        try:
            answer, error = engine_wire.exchange(connection, (method, arguments))
        except (EOFError, OSError) as gone:
            connection.close()
            raise self._remember_lost(gone) from gone
        except BaseException:  # a late answer must not be read as the next call's
            connection.close()
            raise
        if error is not None:
            if isinstance(error, GpuLostError):
                self._lost = str(error)
            raise error
        return answer

    def _keep(self, connection: socket.socket) -> None:
        with self._guard:
            if not self._closed and connection.fileno() >= 0:  # a closed one is negative
                self._free.append(connection)
                return
        connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            engine_wire.prepare(connection)
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        return connection

    def _remember_lost(self, gone: Exception) -> GpuLostError:
        if self._closed:
            return GpuLostError(f"{self._path.name}: the engine is closed")
        self._lost = f"the process that runs the engine is gone or silent: {gone}"
        return GpuLostError(self._lost)


def _start(make_opener: Callable[[], OpenEngine], path: Path, on_gpu: bool) -> None:
    """Starts a host and waits until it listens."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    process = subprocess.Popen(
        # Not -m: pickled classes would belong to `__main__`.
        [
            sys.executable,
            "-c",
            "from azaion_engine.engines.shared.host_process import main; main()",
            *([ON_GPU] * on_gpu),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        answer, _ = process.communicate(pickle.dumps((make_opener(), path)))
    except BaseException:
        for pipe in (process.stdin, process.stdout):  # without an opener the host exits
            assert pipe is not None
            pipe.close()
        process.kill()
        process.wait()
        raise
    if not answer:
        raise ExecutionError("the process that was to run the engine ended without a word; its log says why")
    if (error := pickle.loads(answer)) is not None:
        raise error
