"""A real uvicorn with `HttpProtocol`, and requests written byte by byte."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

import pytest
import uvicorn

from deployments.batching.arriving import WHOLE_BODY
from deployments.frontends.http_server.protocol import HttpProtocol

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"

LARGE = 20_000_000
"""Bytes of the answer to `/large`, more than the system takes of one."""

begun: list[str] = []
"""Paths of the requests that the application has seen."""


async def echo(scope: Any, receive: Any, send: Any) -> None:
    begun.append(scope["path"])
    if scope["path"] == "/refuse":
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"large"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    if scope["path"] == "/large":
        body = b"x" * LARGE
    if scope["path"] == "/headers":
        body = b" ".join(name for name, _ in scope["headers"])
    if scope["path"] == "/whole":
        body = b"whole" if scope.get(WHOLE_BODY) else b"a part"
    text = f"{scope['method']} {scope['path']} ".encode() + body
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(echo, host="127.0.0.1", port=0, http=HttpProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def answers(port: int, *pieces: bytes, count: int = 1) -> list[bytes]:
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        stream = connection.makefile("rb")
        return [body_of(stream) for _ in range(count)]


def body_of(stream: BinaryIO) -> bytes:
    """Reads one answer; http.client would read ahead, into the next one."""
    assert stream.readline().startswith(b"HTTP/1.1 ")
    length = 0
    while line := stream.readline().strip():
        name, _, value = line.lower().partition(b":")
        length = int(value) if name == b"content-length" else length
    return stream.read(length)


def post(path: bytes, body: bytes, headers: bytes = OFFER) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (path, headers, len(body), body)
