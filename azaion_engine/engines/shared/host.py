"""EngineHost: a process that owns one engine and runs it for other processes of the same host.

Started by `SharedEngine` through `engine_host_main`, never by hand. It ends when its last client has left, and when its
GPU is lost: a new process is then the only thing that helps.
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
"""How long a host waits for the client that started it."""
NEXT_CLIENT_S = 2.0
"""How long a host without clients waits for another one: replicas that are replaced one by one find it still there."""
LAST_ANSWERS_S = 0.5
"""How long a host whose GPU is lost goes on telling its clients so."""


@dataclass(frozen=True)
class EngineCard:
    """What a client needs to know of the engine; `host` is the process that runs it."""

    host: int
    name: str
    input_shape: tuple[int, int]
    batch_size: int
    lanes: int
    form: PictureForm
    origin: StoreOutcome | None


class EngineHost:
    """Answers any number of connections, each served by a thread of its own."""

    def __init__(self, engine: InferenceEngine, path: Path) -> None:
        """Opens and warms the engine up for pictures, and listens.

        Args:
            engine: The host closes it.
            path: Of the Unix socket; whatever is there is replaced.
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
        if self._lost:  # what runs there may never return
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
                self._stop_listening()  # who comes now starts another host
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
        """Closes the door for good; the name goes first, for the next host may come at once."""
        if self._listener.fileno() >= 0:
            self._path.unlink(missing_ok=True)
            self._listener.close()


def that_travels(error: Exception) -> Exception:
    """Returns the error itself if the other end can read it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of a library's own kind
        return ExecutionError(f"{type(error).__name__}: {error}")
    return error
