"""EngineHost: owns one engine and runs it for other processes of the same machine.

`SharedEngine` starts the host through `host_process.main`; nobody starts it by hand. It ends when its last client has
left, or when its GPU is lost: only a new process can use the GPU again.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.engines.shared.card import EngineCard
from azaion_engine.engines.shared.connections import Client, Connections
from azaion_engine.engines.shared.gatherer import Gatherer
from azaion_engine.errors import ExecutionError, GpuLostError
from azaion_engine.pictures.prepared import HeldPicture, JpegPicture

FIRST_CLIENT_S = 60.0
"""Timeout for the first client, which started the host, seconds."""
NEXT_CLIENT_S = 2.0
"""Seconds that a host without clients waits for another, so that it survives the replacement of a lone replica."""
LAST_ANSWERS_S = 0.5
"""Seconds that a host whose GPU is lost keeps answering, so that its clients receive the error."""

_CALLERS = 8
"""Maximum number of calls that run concurrently beside the pictures: health checks, arrays, and pictures in tiles."""


class EngineHost:
    """Serves one engine on a Unix socket."""

    def __init__(self, engine: InferenceEngine, path: Path) -> None:
        """Prepares the engine for pictures, warms it up, and listens.

        Args:
            engine: The engine; the host closes it.
            path: The Unix socket; an existing file is replaced.
        """
        self._engine = engine
        form = engine.open_pictures()
        engine.warm_up()
        self._gatherer = Gatherer(engine)
        self._methods: dict[str, Callable[..., Any]] = {
            "card": self._card_if_well,
            "check_health": engine.check_health,
            "run": engine.run,
            "run_arrays": engine.run_arrays,
        }
        self._of_client: dict[str, Callable[..., Any]] = {"hold": self._hold, "release": self._release}
        """Calls whose first argument is the client."""
        self._held: dict[Client, HeldPicture] = {}
        self._callers = ThreadPoolExecutor(_CALLERS, "caller")
        self.card = EngineCard(
            os.getpid(),
            engine.name,
            engine.get_input_shape(),
            engine.get_batch_size(),
            engine.lanes,
            form,
            engine.origin,
            engine.choice,
            engine.output_names,
        )
        self._lost = False
        self._connections = Connections(path, self._handle)

    def serve(self) -> None:
        """Serves until the last client has left or the GPU is lost."""
        connections = self._connections
        connections.start()
        patience = FIRST_CLIENT_S
        while connections.wait_for(lambda: connections.clients or self._lost, patience) and not self._lost:
            connections.wait_for(lambda: not connections.clients or self._lost)
            patience = NEXT_CLIENT_S
        connections.stop_listening()
        if self._lost:  # a running batch may never return
            time.sleep(LAST_ANSWERS_S)
            return
        self._gatherer.close()
        self._engine.close()

    def _handle(self, client: Client, message: Any) -> None:
        method, arguments = message
        if method == "run_pictures":
            [pictures] = arguments
            self._gatherer.submit(pictures, partial(self._answer_pictures, client))
        elif method in self._of_client:
            self._callers.submit(self._call, client, self._of_client[method], (client, *arguments))
        else:
            self._callers.submit(self._call, client, self._methods[method], arguments)

    def _answer_pictures(self, client: Client, found: list[Found] | Exception) -> None:
        if isinstance(found, Exception):
            client.answer((None, self._explain(found)))
        else:
            client.answer(([that_travels(one) if isinstance(one, Exception) else one for one in found], None))

    def _hold(self, client: Client, picture: JpegPicture) -> int | None:
        """Holds one picture for a connection, until the client releases it or leaves; returns its number."""
        held = self._engine.hold(picture)
        if held is None:
            return None
        self._held[client] = held
        client.keep(partial(self._release, client))
        return held.number

    def _release(self, client: Client) -> None:
        client.keep(None)
        if (held := self._held.pop(client, None)) is not None:
            held.release()

    def _call(self, client: Client, method: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        result: Any = None
        failed: Exception | None = None
        try:
            result = method(*arguments)
        except Exception as error:
            failed = self._explain(error)
        client.answer((result, failed))

    def _explain(self, error: Exception) -> Exception:
        if isinstance(error, GpuLostError):
            self._connections.stop_listening()  # a new client then starts another host
            self._lost = True
            self._connections.notify()
        return that_travels(error)

    def _card_if_well(self) -> EngineCard:
        self._engine.check_health()
        return self.card


def that_travels(error: Exception) -> Exception:
    """Returns the error if it can be unpickled, else an ExecutionError with its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # e.g. a library's own exception class
        return ExecutionError(f"{type(error).__name__}: {error}")
    return error
