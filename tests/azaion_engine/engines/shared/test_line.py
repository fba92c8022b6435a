"""Line and Window: large buffers reach the host through common memory, or through the socket where there is none."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from azaion_engine.engines.shared import window as engine_window
from azaion_engine.engines.shared import wire
from azaion_engine.engines.shared.connections import Client, Connections
from azaion_engine.engines.shared.line import Line
from azaion_engine.engines.shared.window import Window, seen

LARGE = 100_000


class Host:
    """Answers each message with the sums of its arrays, and keeps what it received."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.received: list[Any] = []
        self.connections = Connections(path, self._handle)
        self.connections.start()

    def _handle(self, client: Client, message: Any) -> None:
        self.received.append(message)
        client.answer([int(np.sum(one, dtype=np.int64)) for one in message])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "socket")
    yield made
    made.connections.stop_listening()


@pytest.fixture
def line(host: Host) -> Iterator[Line]:
    made = Line(host.path, timeout_s=20)
    yield made
    made.close()


@pytest.fixture
def through_socket(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each message that goes through a socket, the answers too."""
    sizes: list[int] = []
    send = wire.send

    def counted(connection: socket.socket, parts: list[memoryview], *given: Any, **named: Any) -> list[memoryview]:
        sizes.append(sum(part.nbytes for part in parts))
        return send(connection, parts, *given, **named)

    monkeypatch.setattr(wire, "send", counted)
    return sizes


def filled(size: int, value: int) -> np.ndarray[Any, Any]:
    return np.full(size, value, np.uint8)


@pytest.mark.parametrize("sizes", [[LARGE], [LARGE, 20_000, 3, 50_001], [5_000_000, 17], [20_000] * 700])
def test_buffers_arrive_beside_the_socket(host: Host, line: Line, through_socket: list[int], sizes: list[int]) -> None:
    given = [filled(size, index % 250) for index, size in enumerate(sizes)]
    assert line.exchange(given) == [index % 250 * size for index, size in enumerate(sizes)]
    assert max(through_socket) < 1_000 + 200 * len(sizes)


def test_more_buffers_than_the_kernel_takes_at_once_arrive(
    host: Host, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_window, "_MOST_VIEWS", 3)
    given = [filled(20_000 + index, index) for index in range(10)]
    assert line.exchange(given) == [index * (20_000 + index) for index in range(10)]


def test_the_memory_is_used_again_and_grows(host: Host, line: Line) -> None:
    for value, size in enumerate((LARGE, LARGE, 3_000_000, LARGE)):
        assert line.exchange([filled(size, value)]) == [value * size]
    first, second, third, fourth = (message[0] for message in host.received)
    assert (first[0], second[0]) == (1, 1)  # the second message overwrote the first: both are the same memory
    assert (third[0], third[-1], fourth[0]) == (3, 2, 3)


def test_what_a_host_received_stays_when_the_client_leaves(host: Host) -> None:
    line = Line(host.path, timeout_s=20)
    line.exchange([filled(LARGE, 7)])
    line.close()
    assert host.connections.wait_for(lambda: not host.connections.clients, 10)
    assert (host.received[0][0] == 7).all()


def test_a_message_that_is_too_large_for_a_window_goes_through_the_socket(
    host: Host, line: Line, monkeypatch: pytest.MonkeyPatch, through_socket: list[int]
) -> None:
    monkeypatch.setattr(engine_window, "_MOST_BYTES", LARGE)
    for size in (LARGE, LARGE + 1, LARGE):
        assert line.exchange([filled(size, 1)]) == [size]
    asked = through_socket[::2]
    assert [size > LARGE for size in asked] == [False, True, False]


def no_memory(*_: Any) -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("broken", ["memfd_create", "truncate", "pwritev"])
def test_a_machine_without_memory_for_a_window_sends_through_the_socket(
    host: Host, line: Line, monkeypatch: pytest.MonkeyPatch, through_socket: list[int], broken: str
) -> None:
    assert line.exchange([filled(LARGE, 1)]) == [LARGE]
    with monkeypatch.context() as patch:
        patch.setattr(os, broken, no_memory)
        assert line.exchange([filled(2_000_000, 2)]) == [4_000_000]
    assert max(through_socket) > 2_000_000
    through_socket.clear()
    assert line.exchange([filled(LARGE, 3)]) == [3 * LARGE]
    assert max(through_socket) < LARGE


def test_a_system_without_such_memory_sends_through_the_socket(
    host: Host, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert line.exchange([filled(LARGE, 2)]) == [2 * LARGE]


def windows_here() -> int:
    """Number of descriptors of windows in this process, which has both ends."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            found += "azaion-pictures" in os.readlink(f"/proc/self/fd/{name}")
    return found


def test_no_window_is_left_open(host: Host) -> None:
    before = windows_here()
    for _ in range(3):
        line = Line(host.path, timeout_s=20)
        for size in (LARGE, 2_000_000, 4_000_000):
            line.exchange([filled(size, 1)])
        assert windows_here() >= 2  # both ends
        line.close()
        host.received.clear()
        assert host.connections.wait_for(lambda: not host.connections.clients, 10)
    assert windows_here() <= before  # an earlier test's may close meanwhile


def test_a_message_that_names_more_than_the_window_has_costs_its_sender_alone(host: Host, line: Line) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as liar:
        liar.connect(str(host.path))
        liar.settimeout(20)
        window = Window()
        assert window.take([memoryview(bytes(LARGE))])
        size, body = 2**21, b"never read"
        head = struct.pack("<QQQ", 2, 16 + len(body), size) + struct.pack("<QQ", len(body), size) + body
        wire.send(liar, [memoryview(head)], told=window.to_show())
        with pytest.raises(EOFError):
            wire.Inbox(liar).receive()
        window.close()
    assert line.exchange([filled(LARGE, 1)]) == [LARGE]


def test_lines_at_once_have_a_window_each(host: Host) -> None:
    sums: dict[int, list[int]] = {}

    def ask(value: int) -> None:
        line = Line(host.path, timeout_s=20)
        sums[value] = [line.exchange([filled(LARGE + turn, value)])[0] for turn in range(20)]
        line.close()

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == {value: [value * (LARGE + turn) for turn in range(20)] for value in range(1, 5)}


def test_what_tells_of_no_window_shows_none() -> None:
    assert seen([]) is None
