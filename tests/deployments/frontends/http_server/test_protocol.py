"""HttpProtocol: offers of another protocol, slow clients and those that still send, with a real uvicorn."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, BinaryIO

import pytest
import uvicorn

from deployments.batching.arriving import WHOLE_BODY
from deployments.frontends.http_server import protocol
from deployments.frontends.http_server.protocol import HttpProtocol

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"


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


def test_the_body_behind_an_offer_is_read(port: int) -> None:
    assert answers(port, post(b"/a", b"picture")) == [b"POST /a picture"]


def test_a_chunked_body_behind_an_offer_is_read(port: int) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: a\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n"
    assert answers(port, head, b"3\r\npic\r\n", b"4\r\nture\r\n0\r\n\r\n") == [b"POST /a picture"]


def test_pieces_of_one_byte_make_the_same_request(port: int) -> None:
    whole = post(b"/a", b"picture")
    assert answers(port, *(whole[i : i + 1] for i in range(len(whole)))) == [b"POST /a picture"]


def test_the_connection_goes_on_behind_an_offer(port: int) -> None:
    get = b"GET /c HTTP/1.1\r\nHost: a\r\n" + OFFER + b"\r\n"
    requests = (post(b"/a", b"1"), post(b"/b", b"2", b""), get, post(b"/d", b"3"))
    expected = [b"POST /a 1", b"POST /b 2", b"GET /c ", b"POST /d 3"]
    assert answers(port, b"".join(requests), count=4) == expected
    assert answers(port, *requests, count=4) == expected


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


def test_a_request_knows_whether_its_body_was_here_when_it_began(port: int) -> None:
    whole = post(b"/whole", b"a" * 2 * protocol.GATHERED, b"")
    assert answers(port, post(b"/whole", b"a" * 100, b"")) == [b"POST /whole whole"]
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(whole[:50_000])
        time.sleep(0.2)  # it begins
        connection.sendall(whole[50_000:])
        assert body_of(connection.makefile("rb")) == b"POST /whole a part"


def test_a_large_body_behind_an_offer_arrives_whole(port: int) -> None:
    body = bytes(range(256)) * 20_000
    assert answers(port, post(b"/a", body)) == [b"POST /a " + body]


def test_what_is_no_http_is_still_refused(port: int) -> None:
    assert answers(port, b"rubbish\r\n\r\n") == [b"Invalid HTTP request received."]


def seconds_until_closed(connection: socket.socket, drip: bytes = b"") -> tuple[float, bytes]:
    """Sends a byte of `drip` ten times a second until the server closes; returns how long that took and its answer."""
    begun, answer = time.monotonic(), b""
    connection.settimeout(0.1)
    while time.monotonic() - begun < 10:
        try:
            part = connection.recv(65536)
            if not part:
                return time.monotonic() - begun, answer
            answer += part
        except TimeoutError:
            connection.sendall(drip[:1])
            drip = drip[1:]
        except ConnectionError:
            return time.monotonic() - begun, answer
    raise AssertionError("not closed within 10 s")


def test_a_connection_without_a_request_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.4)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        seconds, answer = seconds_until_closed(connection)
    assert (0.3 < seconds < 5, answer) == (True, b"")


@pytest.mark.parametrize("before", [b"", post(b"/a", b"1", b"")])
def test_a_head_that_arrives_slowly_is_told_so(port: int, monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.6)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        if before:
            connection.sendall(before)
            assert body_of(connection.makefile("rb", 0)) == b"POST /a 1"
        seconds, answer = seconds_until_closed(connection, b"GET /a HTTP/1.1\r\nX-Long: " + b"a" * 200)
    assert 0.5 < seconds < 5
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "head_too_slow"


def test_empty_lines_do_not_keep_a_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.6)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/a", b"1", b""))
        assert body_of(connection.makefile("rb", 0)) == b"POST /a 1"
        seconds, _ = seconds_until_closed(connection, b"\r\n" * 100)
    assert seconds < 5


def test_a_body_is_not_limited_by_the_time_for_its_head(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        whole = post(b"/a", b"slow", b"")
        connection.sendall(whole[:-2])
        time.sleep(0.8)
        connection.sendall(whole[-2:])
        assert body_of(connection.makefile("rb", 0)) == b"POST /a slow"


def test_the_rest_of_an_answered_body_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REST_S", 0.6)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/refuse", bytes(100_000), b"")[:-50_000])
        seconds, answer = seconds_until_closed(connection, b"a" * 500)
    assert seconds < 5
    assert answer.endswith(b"large")


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"])
def test_a_client_that_still_sends_gets_its_refusal_and_no_reset(port: int, headers: bytes) -> None:
    body = bytes(30 * 2**20)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/refuse", body, headers))  # looks for no answer before all is sent
        stream = connection.makefile("rb")
        assert body_of(stream) == b"large"
        if headers:
            assert stream.read() == b""
        else:
            connection.sendall(post(b"/b", b"2", b""))
            assert body_of(stream) == b"POST /b 2"


@pytest.mark.parametrize("pieces", [1, 5])
@pytest.mark.parametrize("ends", [b"", b"\r\n\r\n"])
def test_a_head_that_is_too_large_is_told_so(port: int, pieces: int, ends: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/a", b"1", b""))
        stream = connection.makefile("rb")
        assert body_of(stream) == b"POST /a 1"
        head = b"GET /a HTTP/1.1\r\nX-Long: " + b"a" * 70_000 + ends
        step = len(head) // pieces + 1
        for at in range(0, len(head), step):
            connection.sendall(head[at : at + step])
        assert stream.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        assert b"65536 bytes" in stream.read()


def test_a_large_head_behind_an_unanswered_request_ends_the_connection(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/slow", b"1", b"") + b"GET /a HTTP/1.1\r\n")
        time.sleep(0.3)
        connection.sendall(b"X-Long: " + b"a" * 70_000)
        _, answer = seconds_until_closed(connection)
    assert answer == b""


def test_large_bodies_are_no_heads(port: int) -> None:
    body = bytes(10**6)
    requests = [post(b"/a", body, b""), post(b"/b", body, OFFER), post(b"/c", body, b"")]
    assert [len(answer) for answer in answers(port, *requests, count=3)] == [len(body) + 8] * 3


begun: list[str] = []
"""Paths of the requests that the application has seen."""


def test_a_request_begins_when_its_body_is_here(port: int) -> None:
    whole = post(b"/begins", bytes(1000), b"")
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(whole[:-1])
        time.sleep(0.3)
        assert "/begins" not in begun
        connection.sendall(whole[-1:])
        assert len(body_of(connection.makefile("rb"))) == len("POST /begins ") + 1000
        assert "/begins" in begun


def test_a_large_body_begins_with_a_part_of_it_and_goes_on_in_parts(port: int) -> None:
    whole = post(b"/parts", bytes(200_000), b"")
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(whole[:100_000])
        time.sleep(0.3)
        assert "/parts" in begun
        for at in range(100_000, len(whole), 1000):
            connection.sendall(whole[at : at + 1000])
        assert len(body_of(connection.makefile("rb"))) == len("POST /parts ") + 200_000


@pytest.mark.parametrize(("path", "error"), [(b"/detect", dict), (b"/v2/models/a/infer", str)])
def test_a_slow_body_is_refused_before_its_request_begins(
    port: int, monkeypatch: pytest.MonkeyPatch, path: bytes, error: type
) -> None:
    monkeypatch.setattr(protocol, "WINDOW_S", 0.5)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(path, b"", b"")[:-5] + b"1000\r\n\r\n")
        seconds, answer = seconds_until_closed(connection, b"a" * 500)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert 0.4 < seconds < 5
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert isinstance(json.loads(body)["error"], error)
    assert path.decode() not in begun


def test_a_body_at_the_minimum_rate_is_not_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WINDOW_S", 0.5)
    whole = post(b"/a", bytes(4000), b"")
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        for at in range(0, len(whole), 300):  # 3,000 bytes a second
            connection.sendall(whole[at : at + 300])
            time.sleep(0.1)
        assert len(body_of(connection.makefile("rb"))) == len("POST /a ") + 4000


def test_of_too_many_slow_bodies_the_oldest_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MOST_GATHERING", 2)
    with ExitStack() as stack:
        held = [stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 10))) for _ in range(3)]
        for connection in held:
            connection.sendall(post(b"/a", b"1234", b"")[:-1])
            time.sleep(0.1)
        assert b" 503 " in held[0].makefile("rb").readline()
        for connection in held[1:]:
            connection.sendall(b"4")
            assert body_of(connection.makefile("rb")) == b"POST /a 1234"


@pytest.mark.parametrize(("size", "early"), [(1000, False), (100_000, True)])
def test_a_client_that_waits_for_100_is_told_to_go_on(port: int, size: int, early: bool) -> None:
    path = f"/expects-{size}"
    whole = post(path.encode(), bytes(size), b"Expect: 100-continue\r\n")
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(whole[:-size])
        stream = connection.makefile("rb")
        assert (stream.readline(), stream.readline()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        assert (path in begun) == early, "a long body may be refused before it is sent"
        connection.sendall(whole[-size:])
        assert len(body_of(stream)) == len(f"POST {path} ") + size


def test_a_slow_body_behind_an_unanswered_request_ends_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WINDOW_S", 0.5)
    monkeypatch.setattr(protocol, "REST_S", 0.1)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/slow", b"1", b"") + post(b"/a", b"1234", b"")[:-1])
        seconds, answer = seconds_until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.1 408 Request Timeout\r\n" in answer
    assert 1.4 < seconds < 6
