"""HostLink: which connection a call gets, and how the loss of the host is told; the host is a thread here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from azaion_engine.engines.shared.connections import Client, Connections
from azaion_engine.engines.shared.host_link import HostLink
from azaion_engine.errors import EngineClosedError, GpuLostError, InvalidTensorError
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import JpegPicture

JPEG = JpegPicture(Letterbox.fit(4, 4, 4, 4), b"jpeg")


class Host:
    """Answers `echo` with its argument once `gate` is open, raises the argument of `fail`, and hangs up at `end`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gate = threading.Event()
        self.gate.set()
        self.methods: list[str] = []
        self.connections = Connections(path, self._handle)
        self.connections.start()

    def _handle(self, client: Client, message: Any) -> None:
        method, arguments = message
        self.methods.append(method)
        if method == "end":
            client._connection.shutdown(socket.SHUT_RDWR)
        else:
            threading.Thread(target=self._answer, args=(client, method, arguments), daemon=True).start()

    def _answer(self, client: Client, method: str, arguments: Any) -> None:
        assert method != "echo" or self.gate.wait(20)
        answers = {"card": SimpleNamespace(name="stand-in"), "hold": 7}
        client.answer((None, arguments[0]) if method == "fail" else (answers.get(method, arguments), None))

    def has(self, clients: int) -> bool:
        """Waits until there are so many connections."""
        return bool(self.connections.wait_for(lambda: self.connections.clients == clients, 10))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "socket")
    yield made
    made.connections.stop_listening()


class Watched:
    """A link, and how often its loss was told."""

    def __init__(self, host: Host) -> None:
        self.losses = 0
        self.link = HostLink(host.path, self._lost)

    def _lost(self) -> None:
        self.losses += 1


@pytest.fixture
def watched(host: Host) -> Iterator[Watched]:
    made = Watched(host)
    yield made
    made.link.close()


def test_calls_share_a_connection_unless_they_run_at_the_same_time(host: Host, watched: Watched) -> None:
    for value in range(5):
        assert watched.link.call("echo", value) == (value,)
    assert host.has(2)  # with that for health checks
    host.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(watched.link.call, "echo", value) for value in range(3)]
        assert host.has(4)
        host.gate.set()
        assert [call.result(10) for call in calls] == [(0,), (1,), (2,)]
    watched.link.check_health()
    assert host.has(4)


def test_an_error_of_the_host_is_raised_and_its_connection_used_again(host: Host, watched: Watched) -> None:
    with pytest.raises(InvalidTensorError, match="no such shape"):
        watched.link.call("fail", InvalidTensorError("no such shape"))
    assert watched.link.call("echo", 1) == (1,)
    assert host.has(2)
    assert (watched.link.lost, watched.losses) == ("", 0)


def test_a_lost_gpu_is_told_once_and_later_calls_are_refused_without_the_host(host: Host, watched: Watched) -> None:
    with pytest.raises(GpuLostError, match="the GPU fell off the bus"):
        watched.link.call("fail", GpuLostError("the GPU fell off the bus"))
    assert (watched.link.lost, watched.losses) == ("the GPU fell off the bus", 1)
    with pytest.raises(GpuLostError, match="the GPU fell off the bus"):
        watched.link.call("echo", 1)
    assert (host.methods, watched.losses) == (["card", "fail"], 1)


def test_a_host_that_closes_a_connection_in_a_call_is_lost(host: Host, watched: Watched) -> None:
    with pytest.raises(GpuLostError, match="the process that runs the engine is gone or silent"):
        watched.link.call("end")
    assert "gone or silent" in watched.link.lost
    assert watched.losses == 1


def test_a_held_picture_keeps_its_connection_until_it_is_released(host: Host, watched: Watched) -> None:
    held = watched.link.hold(JPEG)
    assert held is not None
    assert held.number == 7
    assert watched.link.call("echo", 1) == (1,)
    assert host.has(3)
    held.release()
    held.release()
    assert host.methods.count("release") == 1
    assert watched.link.hold(JPEG) is not None
    assert host.has(3)


def test_a_link_that_has_ended_closes_the_connection_of_a_call_after_it(host: Host, watched: Watched) -> None:
    host.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(watched.link.call, "echo", 1)
        assert host.has(2)
        watched.link.end()
        assert host.has(1)
        host.gate.set()
        assert call.result(10) == (1,)
    assert host.has(0)


def test_a_closed_link_takes_no_calls_and_is_not_lost(host: Host, watched: Watched) -> None:
    watched.link.hold(JPEG)
    watched.link.close()
    assert host.has(0)
    with pytest.raises(EngineClosedError, match="the engine is closed"):
        watched.link.call("echo", 1)
    with pytest.raises(GpuLostError, match="the engine is closed"):
        watched.link.check_health()
    assert (watched.link.lost, watched.losses) == ("", 0)
