"""Connections: accepts the clients of a host and receives their messages, all on one thread.

A thread for each client would compete with the engine's lanes for the GIL several times a message
(docs/decisions/0001-measured-choices.md).
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azaion_engine.engines.shared import wire

_BACKLOG = 64

logger = logging.getLogger(__name__)


class Client:
    """One connection of a client, which sends a message only after the answer to the one before."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.inbox = wire.Inbox(connection)
        self._guard = threading.Lock()
        self._unanswered = 0
        self._gone = False
        self._give_back: Callable[[], object] | None = None

    def keep(self, give_back: Callable[[], object] | None) -> None:
        """Sets what is called when the client has left, in a thread of its own; at once if it has left already."""
        with self._guard:
            self._give_back = give_back
            gone = self._gone
        if gone:
            self._let_go()

    def answer(self, message: Any) -> None:
        """Sends the answer to the last message; does not wait for a client that does not read it.

        Thread-safe; must be called once for each message.
        """
        try:
            left = wire.send(self._connection, wire.pack(message), wait=False)
        except OSError:  # the client has left
            left = []
        if left:
            threading.Thread(target=self._finish, args=(left,), name="late answer", daemon=True).start()
        else:
            self._answered()

    def begin(self) -> None:
        """Must be called for each message before it is handled."""
        with self._guard:
            self._unanswered += 1

    def leave(self) -> None:
        """Closes the connection, once the last answer is out: another client could be given its descriptor."""
        self.inbox.forget()
        with self._guard:
            self._gone = True
            if not self._unanswered:
                self._connection.close()
        self._let_go()

    def _let_go(self) -> None:
        with self._guard:
            give_back, self._give_back = self._give_back, None
        if give_back is not None:
            threading.Thread(target=give_back, name="give back", daemon=True).start()

    def _finish(self, left: list[memoryview]) -> None:
        try:
            wire.send(self._connection, left)
        except OSError:  # the client has left
            pass
        finally:
            self._answered()

    def _answered(self) -> None:
        with self._guard:
            self._unanswered -= 1
            if self._gone and not self._unanswered:
                self._connection.close()


class Connections:
    """Listens on a Unix socket; a thread of its own accepts clients and receives their messages."""

    def __init__(self, path: Path, on_message: Callable[[Client, Any], None]) -> None:
        """Listens; accepts nobody yet.

        Args:
            path: The socket; an existing file is replaced.
            on_message: Called on the thread with each message; must not block, and must see to `Client.answer`.
        """
        self._path = path
        self._on_message = on_message
        self._clients = 0
        self._changed = threading.Condition()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)

    @property
    def clients(self) -> int:
        """Number of connections."""
        return self._clients

    def start(self) -> None:
        """Starts the thread."""
        threading.Thread(target=self._work, name="clients", daemon=True).start()

    def wait_for(self, condition: Callable[[], object], timeout_s: float | None = None) -> object:
        """Waits until a condition holds; it is tested at each change of `clients` and each `notify`."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def notify(self) -> None:
        """Makes `wait_for` test its condition."""
        with self._changed:
            self._changed.notify_all()

    def stop_listening(self) -> None:
        """Accepts no more clients; removes the path first, because the next host may listen there at once."""
        with self._changed:
            if self._listener.fileno() >= 0:
                self._path.unlink(missing_ok=True)
                self._listener.close()

    def _work(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                client: Client | None = key.data
                if client is None:
                    self._accept(selector)
                elif not self._hears(client):
                    selector.unregister(key.fileobj)
                    client.leave()
                    self._count(-1)

    def _hears(self, client: Client) -> bool:
        """Receives what a client has sent; returns False if it has left."""
        try:
            message = client.inbox.poll()
        except Exception as error:  # a message that cannot be read costs its sender, not the other clients
            if not isinstance(error, (EOFError, OSError)):
                logger.exception("a client's message cannot be read: its connection is closed")
            return False
        if message is not None:
            client.begin()
            self._on_message(client, message)
        return True

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the client has left already, or nobody listens any more
            return
        connection.setblocking(True)
        wire.prepare(connection)
        self._count(1)
        selector.register(connection, selectors.EVENT_READ, Client(connection))

    def _count(self, change: int) -> None:
        with self._changed:
            self._clients += change
            self._changed.notify_all()
