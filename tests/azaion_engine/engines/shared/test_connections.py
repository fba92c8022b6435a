from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from azaion_engine.engines.shared import wire as engine_wire
from azaion_engine.engines.shared.connections import Client, Connections


class Echo:
    """Answers each message with itself, once `gate` is open."""

    def __init__(self, path: Path) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.received: list[Any] = []
        self.connections = Connections(path, self.handle)
        self.connections.start()

    def handle(self, client: Client, message: Any) -> None:
        self.received.append(message)
        threading.Thread(target=self.answer, args=(client, message)).start()

    def answer(self, client: Client, message: Any) -> None:
        assert self.gate.wait(10)
        client.answer(message)


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    made = Echo(tmp_path / "socket")
    yield made
    made.connections.stop_listening()


@contextmanager
def client_of(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(tmp_path / "socket"))
        yield connection


def exchange(connection: socket.socket, message: Any) -> Any:
    engine_wire.send(connection, engine_wire.pack(message))
    return engine_wire.Inbox(connection).receive()


def test_clients_are_answered_each_with_its_own_and_counted(tmp_path: Path, echo: Echo) -> None:
    with client_of(tmp_path) as one, client_of(tmp_path) as other:
        for index in range(20):
            assert exchange(one, ("one", index)) == ("one", index)
            assert exchange(other, ("other", bytes(50_000), index))[2] == index
        assert echo.connections.clients == 2
    assert echo.connections.wait_for(lambda: not echo.connections.clients, 5)


def test_half_a_message_of_one_client_holds_up_no_other(tmp_path: Path, echo: Echo) -> None:
    data = b"".join(engine_wire.pack(bytes(100_000)))
    with client_of(tmp_path) as slow, client_of(tmp_path) as quick:
        slow.sendall(data[:60_000])
        assert exchange(quick, "quick") == "quick"
        slow.sendall(data[60_000:])
        assert engine_wire.Inbox(slow).receive() == bytes(100_000)


def test_a_client_that_does_not_read_its_answer_blocks_nobody_and_gets_it_later(tmp_path: Path, echo: Echo) -> None:
    large = bytes(5_000_000)
    with client_of(tmp_path) as silent, client_of(tmp_path) as other:
        engine_wire.send(silent, engine_wire.pack(large))
        assert exchange(other, "other") == "other"
        time.sleep(0.05)
        assert engine_wire.Inbox(silent).receive() == large


def test_an_answer_for_a_client_that_has_left_reaches_no_other(tmp_path: Path, echo: Echo) -> None:
    echo.gate.clear()
    with client_of(tmp_path) as leaving:
        engine_wire.send(leaving, engine_wire.pack("first"))
        assert echo.connections.wait_for(lambda: echo.connections.clients == 1, 5)
    assert echo.connections.wait_for(lambda: not echo.connections.clients, 5)
    with client_of(tmp_path) as following:  # would be given the descriptor of the one before, were it closed already
        following.settimeout(0.1)
        echo.gate.set()
        with pytest.raises(socket.timeout):
            engine_wire.Inbox(following).receive()
        following.settimeout(5)
        assert exchange(following, "second") == "second"
    assert echo.received == ["first", "second"]


def test_who_has_stopped_listening_still_answers_its_clients(tmp_path: Path, echo: Echo) -> None:
    with client_of(tmp_path) as client:
        assert exchange(client, 1) == 1
        echo.connections.stop_listening()
        echo.connections.stop_listening()
        with suppress(FileNotFoundError), client_of(tmp_path):
            pytest.fail("it still listens")
        assert exchange(client, 2) == 2


def test_a_message_that_cannot_be_read_costs_its_sender_alone(tmp_path: Path, echo: Echo) -> None:
    with client_of(tmp_path) as broken, client_of(tmp_path) as other:
        rubbish = b"no pickle"
        head = b"".join(number.to_bytes(8, "little") for number in (1, 8 + len(rubbish), 0, len(rubbish)))
        broken.sendall(head + rubbish)
        broken.settimeout(5)
        with pytest.raises(EOFError):
            engine_wire.Inbox(broken).receive()
        assert exchange(other, "other") == "other"
