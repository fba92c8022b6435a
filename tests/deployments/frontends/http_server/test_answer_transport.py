"""AnswerTransport: when the head of an answer leaves, and with what."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import pytest

from deployments.frontends.http_server.protocol import HttpProtocol
from tests.deployments.frontends.http_server.conftest import answers, body_of, post


def test_an_answer_without_a_body_leaves_before_the_next_one(port: int) -> None:
    head = b"HEAD /c HTTP/1.1\r\nHost: a\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        stream = connection.makefile("rb")
        for requests in ([head, post(b"/a", b"1", b"")], [head], [post(b"/a", b"1", b"")]):
            connection.sendall(b"".join(requests))
            for request in requests:
                if request is head:
                    assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                    while stream.readline().strip():
                        pass
                else:
                    assert body_of(stream) == b"POST /a 1"


class Recorder:
    """A transport that keeps what is written."""

    def __init__(self, transport: Any, written: list[bytes]) -> None:
        self._transport, self._written = transport, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)


def test_head_and_body_of_an_answer_leave_in_one_piece(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    made = HttpProtocol.connection_made
    monkeypatch.setattr(HttpProtocol, "connection_made", lambda self, to: made(self, Recorder(to, written)))
    assert answers(port, post(b"/a", b"1", b"")) == [b"POST /a 1"]
    [answer] = written
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"POST /a 1")
