"""A scripted HTTP server, one interface to both clients, and a clock that moves only when a client waits."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

import azaion_client.async_client
import azaion_client.client
import azaion_client.retry
from azaion_client import AsyncClient, Client

BOX = {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0, "confidence": 0.9, "class_id": 0, "class_name": "car"}
MODEL = {"name": "demo", "engine": "onnxruntime-cpu"}
FOUND = {
    "picture": {"width": 8, "height": 6},
    "boxes": [BOX],
    "timing_ms": {"decode": 1, "queue": 2.5, "engine": 3, "total": 6.5},
}
ANSWER = {**FOUND, "model": MODEL}
CARD = {
    **MODEL,
    "input": {"width": 32, "height": 32},
    "head": {"name": "end_to_end", "recognised_as": "end-to-end rows", "pictures": "RGB 0..1", "notes": []},
    "batch_size": 1,
    "classes": {"0": "car", "1": "truck"},
    "confidence": 0.25,
    "limits": {"max_picture_bytes": 1000, "max_picture_pixels": 1000, "max_pictures": 2, "timeout_s": 30},
}


def error(code: str, status: int) -> dict[str, Any]:
    return {"error": {"code": code, "message": f"this is {code}", "status": status}}


@dataclass
class Reply:
    """One answer of the script; `reset` breaks the connection instead."""

    body: Any = field(default_factory=lambda: ANSWER)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False


@dataclass
class Asked:
    """One received request."""

    line: str
    headers: dict[str, str]
    body: bytes

    def parts(self) -> list[tuple[str, bytes]]:
        """Returns (file name, content) of each part of a multipart body."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
        return [(part.get_filename(), part.get_payload(decode=True)) for part in message.iter_parts()]


@dataclass
class Script:
    """The server's address, the answers it will give, and the requests it received."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)

    def plays(self, *replies: Reply) -> None:
        self.replies.extend(replies)


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else the body, a second write, waits for the client's delayed ACK

        def do_GET(self) -> None:
            script.connections.add(self.client_address)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append(Asked(f"{self.command} {self.path}", headers, body))
            reply = script.replies.pop(0)
            if reply.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
                return
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response_only(reply.status)
            for name, value in {"Content-Length": str(len(data)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def finish(self) -> None:
            if not self.wfile.closed and self.connection.fileno() != -1:
                super().finish()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield script
    server.shutdown()
    thread.join()
    server.server_close()
    assert not script.replies, "the client stopped asking too early"


class Face:
    """Calls the blocking or the asyncio client in the same way."""

    def __init__(self, kind: type[Client] | type[AsyncClient], url: str) -> None:
        self.kind = kind
        self.url = url

    def __call__(self, method: str, *args: Any, client: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        [result] = self.several(method, [args], client=client, **kwargs)
        return result

    def several(self, method: str, calls: list[tuple[Any, ...]], client: Any = None, **kwargs: Any) -> list[Any]:
        """Makes several calls, one after the other, with one client."""
        options = {"base_url": self.url, **(client or {})}
        if self.kind is Client:
            with Client(**options) as waiting:
                return [getattr(waiting, method)(*args, **kwargs) for args in calls]

        async def run() -> list[Any]:
            async with AsyncClient(**options) as awaited:
                return [await getattr(awaited, method)(*args, **kwargs) for args in calls]

        return asyncio.run(run())


@pytest.fixture(params=[Client, AsyncClient])
def call(request: pytest.FixtureRequest, script: Script) -> Face:
    return Face(request.param, script.url)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the waits instead of waiting; jitter is at its maximum."""
    waited: list[float] = []
    start = time.monotonic()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(azaion_client.client, "time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr(
        azaion_client.async_client, "asyncio", SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread)
    )
    clock = SimpleNamespace(monotonic=lambda: start + sum(waited), time=time.time)
    monkeypatch.setattr(azaion_client.retry, "time", clock)
    monkeypatch.setattr(azaion_client.retry, "random", SimpleNamespace(uniform=lambda low, high: high))
    return waited
