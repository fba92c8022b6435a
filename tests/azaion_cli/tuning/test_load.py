"""The load generator against a real HTTP server, whose answers the tests decide."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from azaion_cli.tuning import client as client_module
from azaion_cli.tuning.answers import Answers
from azaion_cli.tuning.client import Request, Tally, run_clients
from azaion_cli.tuning.load import LoadGenerator, percentile, processes_for, summarise
from tests.running_serve import free_port

RIGHT = json.dumps({"boxes": [{"x1": 1, "y1": 1, "x2": 9, "y2": 9, "confidence": 0.9, "class_id": 0}]}).encode()
WRONG = RIGHT.replace(b'"x1": 1', b'"x1": 5')
BODY = b"picture" * 10_000


@contextmanager
def serving(answer) -> Iterator[Request]:
    """Serves; `answer(handler, number)` answers the request with this number, from 0."""
    numbers, lock = iter(range(10**9)), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            assert self.rfile.read(int(self.headers["Content-Length"])) == BODY
            with lock:
                number = next(numbers)
            answer(self, number)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Request("127.0.0.1", server.server_port, "/detect", BODY)
    finally:
        server.shutdown()
        server.server_close()


def reply(handler, body=RIGHT, status=200):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def run(request, clients=2, seconds=0.4) -> Tally:
    now = time.monotonic()
    return asyncio.run(run_clients(request, Answers(RIGHT), clients, now, now + seconds))


def test_rate_and_percentiles_are_those_of_the_server():
    def slowly(handler, number):
        time.sleep(0.05)
        reply(handler)

    with serving(slowly) as request, LoadGenerator(cores=2) as load:
        level = load.put(request, Answers(RIGHT), clients=4, seconds=1.0)
        many = load.put(request, Answers(RIGHT), clients=40, seconds=0.5)  # in two processes
    assert not level.errors
    assert not many.errors
    assert 50 <= level.p50_ms <= level.p95_ms <= level.p99_ms
    # Closed loop: as many requests are under way as there are clients, and none takes less than 50 ms.
    assert 4 / level.p99_ms * 1000 * 0.9 <= level.rate <= 4 / 0.05
    assert level.answers == pytest.approx(level.rate, abs=2 * 4 + 1)  # those under way at both ends
    assert many.answers >= 40


def test_wrong_answers_are_counted_and_the_first_is_told():
    with serving(lambda handler, number: reply(handler, WRONG if number == 3 else RIGHT)) as request:
        tally = run(request)
    assert tally.errors == {"wrong answer": 1}
    assert "missing" in tally.first_wrong
    assert len(tally.right) > 3


def test_refusals_are_counted_by_status_and_connections_are_kept():
    connections = set()

    def answer(handler, number):
        connections.add(handler.client_address)
        reply(handler, status=503 if number in (1, 2) else 200)

    with serving(answer) as request:
        tally = run(request)
    assert tally.errors == {"status 503": 2}
    assert len(connections) == 2


def test_closed_connections_are_counted_and_replaced():
    def answer(handler, number):
        if number == 1:
            handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
            handler.close_connection = True
        else:
            reply(handler)

    with serving(answer) as request:
        tally = run(request)
    assert tally.errors == {"connection closed": 1}
    assert len(tally.right) > 3


def test_an_announced_close_is_no_error():
    def answer(handler, number):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.send_header("Content-Length", str(len(RIGHT)))
        handler.end_headers()
        handler.wfile.write(RIGHT)

    with serving(answer) as request:
        tally = run(request)
    assert not tally.errors
    assert len(tally.right) > 3


def test_what_is_no_http_with_a_length_is_malformed():
    with serving(lambda handler, number: handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")) as request:
        assert set(run(request).errors) == {"malformed answer"}


def test_a_late_answer_is_a_timeout(monkeypatch):
    monkeypatch.setattr(client_module, "TIMEOUT_S", 0.1)
    with serving(lambda handler, number: time.sleep(1)) as request:
        assert set(run(request, clients=1, seconds=0.2).errors) == {"timeout"}


def test_nobody_there_is_a_refused_connection():
    assert set(run(Request("127.0.0.1", free_port(), "/detect", BODY)).errors) == {"connection refused"}


def test_an_answer_counts_for_its_share_of_the_window():
    tally = Tally(right=[(-1.0, 1.0), (1.0, 2.0), (8.0, 12.0), (-3.0, -1.0)])
    level = summarise([tally, Tally()], 1, begin=0.0, end=10.0)
    assert level.rate == pytest.approx((0.5 + 1 + 0.5) / 10)
    assert (level.answers, level.p50_ms, level.p99_ms) == (3, 2000.0, 4000.0)


def test_a_level_without_answers_has_no_latencies_in_json():
    values = summarise([Tally()], 2, begin=0.0, end=1.0).as_json()
    assert values["p99_ms"] is None
    assert "first_wrong" not in values
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_percentiles_are_measured_values():
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert percentile([1.0, 2.0, 3.0], 0.99) == 3.0
    assert percentile([], 0.5) == math.inf


def test_more_processes_only_for_many_clients_or_many_cores():
    assert [processes_for(1, 2), processes_for(32, 2), processes_for(1, 8), processes_for(64, 64)] == [1, 2, 2, 4]
