from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from benchmarks.service.load import Request, parse_report, put_load

BOXES = [
    {"x1": 10.5, "y1": 20.0, "x2": 110.25, "y2": 220.0},
    {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0},
]
REPORT = """Running 1s test @ http://127.0.0.1:8000/detect
  1 threads and 2 connections
Requests/sec:     20.00
{"requests": 40, "seconds": 2.0, "wrong": %d, "connect": 0, "read": 1, "write": 0, "timeout": 0, \
"p50_us": 98000, "p95_us": 120500, "p99_us": 130040, "first_wrong": "%s"}
"""


def test_a_report_gives_rate_latencies_and_errors() -> None:
    assert parse_report(REPORT % (0, "")) == {
        "rate": 20.0,
        "p50_ms": 98.0,
        "p95_ms": 120.5,
        "p99_ms": 130.0,
        "requests": 40,
        "errors": 1,
    }


def test_wrong_answers_are_errors_and_do_not_count_for_the_rate() -> None:
    report = parse_report(REPORT % (10, "503 overloaded"))

    assert (report["rate"], report["errors"], report["first_wrong"]) == (15.0, 11, "503 overloaded")


def test_a_report_that_ended_early_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one line of check"):
        parse_report("Running 1s test\nunable to connect")


class Answers(BaseHTTPRequestHandler):
    """Records the body of every POST and gives the answers that the test has set, in turns."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per answer: a second one would wait for the acknowledgement of the first
    answers: ClassVar[list[tuple[int, str]]] = []
    asked: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
        status, text = self.answers[len(self.asked) % len(self.answers)]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Answers.asked.clear()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
RIGHT = json.dumps({"boxes": BOXES})
REORDERED = json.dumps({"boxes": BOXES[::-1]}).replace(": ", ":")
WRAPPED = json.dumps({"outputs": [{"data": [RIGHT]}]})
MOVED = json.dumps({"boxes": [BOXES[0], {**BOXES[1], "x2": 8.0}]})
FEWER = json.dumps({"boxes": BOXES[:1]})


@needs_wrk
@pytest.mark.parametrize("text", [RIGHT, REORDERED, WRAPPED], ids=["plain", "reordered", "wrapped"])
def test_right_answers_are_counted_right(server: str, text: str) -> None:
    Answers.answers = [(200, text)]
    result = put_load(server, Request("/detect", b"a picture", {"Content-Type": "image/jpeg"}), BOXES, 2, 1)

    assert result["errors"] == 0
    assert result["rate"] > 0
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]
    assert set(Answers.asked) == {b"a picture"}


@needs_wrk
@pytest.mark.parametrize(
    ("status", "text"), [(200, MOVED), (200, FEWER), (503, RIGHT)], ids=["moved box", "missing box", "status 503"]
)
def test_each_wrong_answer_is_an_error(server: str, status: int, text: str) -> None:
    Answers.answers = [(200, RIGHT), (status, text)]
    result = put_load(server, Request("/detect", b"a picture"), BOXES, 1, 1)

    assert result["errors"] == pytest.approx(result["requests"] / 2, abs=1)
    assert result["first_wrong"].startswith(str(status))


@needs_wrk
def test_clients_who_pause_ask_less_often_and_wait_no_longer(server: str) -> None:
    Answers.answers = [(200, RIGHT)]
    hurried = put_load(server, Request("/detect", b"a picture"), BOXES, 4, 1)
    paused = put_load(server, Request("/detect", b"a picture"), BOXES, 4, 2, pause_ms=100)

    assert paused["errors"] == 0
    assert 10 < paused["rate"] < 80  # 4 clients, each with at most 10 requests a second on average
    assert paused["rate"] < hurried["rate"]
    assert paused["p50_ms"] < 50
