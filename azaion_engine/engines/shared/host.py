"""EngineHost: owns one engine and runs it for other processes of the same machine.

`SharedEngine` starts the host through `host_process.main`; nobody starts it by hand. It ends when its last client has
left, or when its GPU is lost: only a new process can use the GPU again.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.engines.shared import wire as engine_wire
from azaion_engine.engines.shared.gatherer import Gatherer
from azaion_engine.errors import ExecutionError, GpuLostError
from azaion_engine.pictures.prepared import LoadablePicture, PictureForm
from azaion_engine.plans.store import StoreOutcome

FIRST_CLIENT_S = 60.0
"""Timeout for the first client, which started the host, seconds."""
NEXT_CLIENT_S = 2.0
"""Seconds that a host without clients waits for another, so that it survives the replacement of a lone replica."""
LAST_ANSWERS_S = 0.5
"""Seconds that a host whose GPU is lost keeps answering, so that its clients receive the error."""


@dataclass(frozen=True)
class EngineCard:
    """Properties of the engine that a client needs; `host` is the host's process ID."""

    host: int
    name: str
    input_shape: tuple[int, int]
    batch_size: int
    lanes: int
    form: PictureForm
    origin: StoreOutcome | None


class EngineHost:
    """Serves one engine on a Unix socket; each connection has its own thread."""

    def __init__(self, engine: InferenceEngine, path: Path) -> None:
        """Prepares the engine for pictures, warms it up, and listens.

        Args:
            engine: The engine; the host closes it.
            path: The Unix socket; an existing file is replaced.
        """
        self._engine = engine
        self._path = path
        form = engine.open_pictures()
        engine.warm_up()
        self._gatherer = Gatherer(engine)
        self._methods: dict[str, Callable[..., Any]] = {
            "card": self._card_if_well,
            "check_health": engine.check_health,
            "run": engine.run,
            "run_pictures": self._run_pictures,
        }
        self.card = EngineCard(
            os.getpid(),
            engine.name,
            engine.get_input_shape(),
            engine.get_batch_size(),
            engine.lanes,
            form,
            engine.origin,
        )
        self._clients = 0
        self._lost = False
        self._changed = threading.Condition()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(64)

    def serve(self) -> None:
        """Serves until the last client has left or the GPU is lost."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        patience = FIRST_CLIENT_S
        with self._changed:
            while self._changed.wait_for(lambda: self._clients or self._lost, patience) and not self._lost:
                self._changed.wait_for(lambda: not self._clients or self._lost)
                patience = NEXT_CLIENT_S
        self._stop_listening()
        if self._lost:  # a running batch may never return
            time.sleep(LAST_ANSWERS_S)
            return
        self._gatherer.close()
        self._engine.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._changed:
                self._clients += 1
                self._changed.notify_all()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                while True:
                    method, arguments = engine_wire.receive(connection)
                    engine_wire.send(connection, self._call(method, arguments))
        except (EOFError, OSError):  # the client has left
            pass
        finally:
            with self._changed:
                self._clients -= 1
                self._changed.notify_all()

    def _call(self, method: str, arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
        try:
            return self._methods[method](*arguments), None
        except Exception as error:
            if isinstance(error, GpuLostError):
                self._stop_listening()  # a new client then starts another host
                with self._changed:
                    self._lost = True
                    self._changed.notify_all()
            return None, that_travels(error)

    def _run_pictures(self, pictures: Sequence[LoadablePicture]) -> list[Found]:
        found = self._gatherer.run(pictures)
        return [that_travels(one) if isinstance(one, Exception) else one for one in found]

    def _card_if_well(self) -> EngineCard:
        self._engine.check_health()
        return self.card

    def _stop_listening(self) -> None:
        """Closes the listener; removes the path first, because the next host may listen there at once."""
        if self._listener.fileno() >= 0:
            self._path.unlink(missing_ok=True)
            self._listener.close()


def that_travels(error: Exception) -> Exception:
    """Returns the error if it can be unpickled, else an ExecutionError with its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # e.g. a library's own exception class
        return ExecutionError(f"{type(error).__name__}: {error}")
    return error
