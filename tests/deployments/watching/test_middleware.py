"""Middleware: a request's X-Request-ID, its one line in the log, and its spans at a collector."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
import ray
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from ray import serve

from azaion_engine.detector import Detector
from deployments.app import build_application
from deployments.settings import ServiceSettings
from deployments.watching import log as request_log
from deployments.watching.middleware import RequestMiddleware
from deployments.watching.record import RequestRecord
from tests.deployments.frontends.open_inference.grpc_calls import call, fails, picture
from tests.running_serve import Deployed, end_ray, free_port, start_ray
from tests.stand_in import POISON, grey_picture, open_stand_in

ROOT = Path(__file__).parents[3]
CONFIG = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
GRPC_PORT = free_port()
Found = TypeVar("Found")


def open_talkative_stand_in(settings: ServiceSettings) -> Detector:
    """Opens a stand-in in the replica, without the limit on log lines."""
    request_log.ANSWERS_PER_SECOND = 1_000_000
    return open_stand_in(settings)


def wait_for(find: Callable[[], Found | None], seconds: float = 20) -> Found:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := find()) is not None:
            return found
        time.sleep(0.1)
    raise AssertionError("not found in time")


class Collector(ThreadingHTTPServer):
    """An OpenTelemetry collector: receives spans over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.spans: list[Any] = []

    def trace_of(self, request_id: str) -> dict[str, Any] | None:
        """Returns a request's spans by the first word of their names; None until all processes have sent theirs."""
        traces = {span.trace_id for span in self.spans if attributes(span).get("request_id") == request_id}
        found = {span.name.split()[0]: span for span in self.spans if span.trace_id in traces}
        whole = {"proxy_http_request", "route_to_replica", "replica_handle_request", "encode"}
        return found if found.keys() >= whole else None


class _Receive(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    server = Collector()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def app(collector: Collector) -> Iterator[Deployed]:
    """Serve with the logging of the shipped configuration, sanitised request ids, and a trace of every request."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "deployments.frontends.ingress:middlewares")
        patch.setenv("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", "deployments.watching.tracing:otlp_exporter")
        patch.setenv("RAY_SERVE_TRACING_SAMPLING_RATIO", "1")
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        start_ray(num_cpus=8, num_gpus=0)
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": port},
        grpc_options=yaml.safe_load((ROOT / "configs/one_gpu.yaml").read_text())["grpc_options"] | {"port": GRPC_PORT},
        logging_config=CONFIG["logging_config"],
    )
    application = build_application(ServiceSettings(max_picture_bytes=100_000), open_talkative_stand_in)
    handle = serve.run(application, name="watched", route_prefix="/watched", logging_config=CONFIG["logging_config"])
    yield Deployed(handle, f"http://127.0.0.1:{port}/watched", "watched")
    end_ray()


@pytest.fixture(scope="module")
def client(app: Deployed) -> Iterator[httpx.Client]:
    with app.client() as client:
        yield client


def lines_with(text: str) -> list[dict[str, Any]]:
    """Returns every line in Serve's logs that contains `text`."""
    logs = Path(ray._private.worker._global_node.get_logs_dir_path()) / "serve"
    return [json.loads(line) for file in logs.glob("*.log") for line in file.read_text().splitlines() if text in line]


def several(*pictures: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("picture", (f"{i}.png", data, "image/png")) for i, data in enumerate(pictures)]


@pytest.mark.parametrize(
    ("path", "request_", "status"),
    [
        ("/detect", {"content": grey_picture(5)}, 200),
        ("/detect", {"files": several(grey_picture(5), grey_picture(6))}, 200),
        ("/detect", {"files": several(b"no picture", grey_picture(6))}, 200),
        ("/detect", {"files": several(b"no picture")}, 415),
        ("/detect", {"content": b"hello"}, 415),
        ("/detect", {"content": bytes(100_001)}, 413),
        ("/detect?confidence=2", {"content": grey_picture(5)}, 422),
        ("/detect", {"content": grey_picture(POISON)}, 500),
        ("/nothing", {"content": b""}, 404),
        ("/../elsewhere", {"content": b""}, 404),
    ],
)
def test_a_clients_id_comes_back_with_every_answer(client, path, request_, status):
    response = client.post(path, headers={"X-Request-ID": "order-66/a:b"}, **request_)
    assert response.status_code == status
    assert response.headers.get_list("X-Request-ID") == ["order-66/a:b"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"x" * 5000, "x" * 128),
        (b"caf\xe9", "caf_"),
        ("café".encode(), "caf__"),
        (b'a b"{}\t%', "a_b_____"),
    ],
)
def test_an_odd_id_is_made_safe_in_answer_and_log(client, given, expected):
    picture = grey_picture(5)
    response = client.post("/detect", content=picture, headers={"X-Request-ID": given})
    assert response.status_code == 200
    assert response.headers.get_list("X-Request-ID") == [expected]
    wait_for(lambda: lines_with(f'"request_id": "{expected}"') or None)


@pytest.mark.parametrize(
    "name",
    [b"X-Session-ID", b"X-Request-Timeout-Seconds", b"X-Request-Disconnect-Disabled", b"serve-multiplexed_model-id"],
)
def test_a_header_of_serve_that_is_not_utf8_fails_no_request(client, name):
    assert client.get("/model", headers={name: b"\xff"}).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-Request-ID": ""}], ids=["none", "empty"])
def test_a_request_without_an_id_is_given_one_of_its_own(client, headers):
    ids = {client.post("/detect", content=grey_picture(5), headers=headers).headers["X-Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    for made in ids:
        assert re.fullmatch(r"[0-9a-f-]{36}", made)
        assert [line["outcome"] for line in wait_for(lambda made=made: lines_with(made) or None)] == ["ok"]


def test_a_request_is_one_line_with_all_that_is_known_of_it(client):
    client.post("/detect", content=grey_picture(5), headers={"X-Request-ID": "one-line"})
    wait_for(lambda: lines_with("one-line") or None)
    time.sleep(0.3)  # time for a second line, which must not come
    [line] = lines_with("one-line")
    assert line["message"].startswith("POST /detect 200 ok ")
    expected = {"request_id": "one-line", "method": "POST", "route": "/detect", "status": 200, "outcome": "ok"}
    assert expected.items() <= line.items()
    assert {"application": "watched", "deployment": "DetectorDeployment", "pictures": 1}.items() <= line.items()
    assert line["replica"]
    assert line["levelname"] == "INFO"
    stages = sum(line[f"{stage}_ms"] for stage in ("decode", "queue", "engine", "encode"))
    assert 20 <= line["engine_ms"] <= stages <= line["duration_ms"] + 0.5


def test_a_failure_is_one_line_with_its_code(client):
    client.post("/detect", content=b"hello", headers={"X-Request-ID": "bad-one"})
    [line] = wait_for(lambda: lines_with("bad-one") or None)
    assert (line["status"], line["outcome"], line["pictures"]) == (415, "not_a_picture", 0)
    assert "engine_ms" not in line


def test_of_several_pictures_the_line_tells_the_longest(client):
    pictures = several(grey_picture(5), b"no picture", grey_picture(7))
    client.post("/detect", files=pictures, headers={"X-Request-ID": "several"})
    [line] = wait_for(lambda: lines_with('"several"') or None)
    assert (line["outcome"], line["pictures"]) == ("partial", 2)


def test_a_client_that_hangs_up_is_told_as_cancelled(app):
    url = urlsplit(app.url)
    with socket.create_connection((url.hostname, url.port)) as connection:
        head = f"POST {url.path}/detect HTTP/1.1\r\nHost: x\r\nX-Request-ID: left\r\nContent-Length: 90000\r\n\r\n"
        connection.sendall(head.encode() + grey_picture(5)[:50] + bytes(40_000))  # enough for the request to begin
        time.sleep(0.3)
    line = wait_for(lambda: next((line for line in lines_with('"left"') if "outcome" in line), None))
    assert (line["status"], line["outcome"]) == (499, "cancelled")


def test_probes_leave_no_lines(client):
    assert client.get("/healthz", headers={"X-Request-ID": "probe"}).status_code == 200
    client.get("/model", headers={"X-Request-ID": "probed"})
    assert [line["route"] for line in wait_for(lambda: lines_with("probe") or None)] == ["/model"]


def test_the_stages_are_spans_below_serves_own(client, collector):
    client.post("/detect", content=grey_picture(5), headers={"X-Request-ID": "traced"})
    spans = wait_for(lambda: collector.trace_of("traced"))
    served = spans["replica_handle_request"]
    before = 0
    for stage in ("decode", "queue", "engine", "encode"):
        span = spans[stage]
        assert span.parent_span_id == served.span_id
        assert span.start_time_unix_nano >= before - 2_000  # the spans' times are rounded to microseconds
        assert served.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        before = span.end_time_unix_nano
    assert spans["engine"].end_time_unix_nano - spans["engine"].start_time_unix_nano >= 20_000_000
    assert before <= served.end_time_unix_nano
    assert attributes(served)["azaion.outcome"] == "ok"
    by_id = {span.span_id: span for span in spans.values()}
    assert by_id[served.parent_span_id].parent_span_id == spans["proxy_http_request"].span_id


def test_every_picture_of_several_has_its_spans(client, collector):
    pictures = several(grey_picture(5), grey_picture(6))
    client.post("/detect", files=pictures, headers={"X-Request-ID": "traced-two"})
    served = wait_for(lambda: collector.trace_of("traced-two"))["replica_handle_request"]
    children = [span for span in collector.spans if span.parent_span_id == served.span_id]
    assert sorted((span.name, attributes(span).get("picture")) for span in children) == [
        ("decode", 0),
        ("decode", 1),
        ("encode", None),
        ("engine", 0),
        ("engine", 1),
        ("queue", 0),
        ("queue", 1),
    ]


def test_without_tracing_nothing_of_opentelemetry_is_imported():
    code = "import deployments.watching.tracing, sys; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_grpc_call_has_its_line_and_its_spans(app: Deployed, collector: Collector) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{GRPC_PORT}") as channel:
        call(channel, "ModelInfer", app, "grpc-1", model_name="stand-in", inputs=[picture(5, 6)])
        wrong = {"model_name": "stand-in", "inputs": []}
        fails(grpc.StatusCode.INVALID_ARGUMENT, channel, "ModelInfer", app, request_id="grpc-2", **wrong)
        call(channel, "ModelMetadata", app, "grpc-3", name="stand-in")
    [line] = wait_for(lambda: lines_with('"request_id": "grpc-1"') or None)
    assert (line["method"], line["route"]) == ("gRPC", "/inference.GRPCInferenceService/ModelInfer")
    assert (line["status"], line["outcome"], line["pictures"]) == (200, "ok", 2)
    assert line["engine_ms"] > 0
    [line] = wait_for(lambda: lines_with('"request_id": "grpc-2"') or None)
    assert (line["status"], line["outcome"]) == (400, "invalid_request")
    assert not lines_with('"request_id": "grpc-3"')
    stages = {"decode", "queue", "engine", "encode"}

    def traced() -> bool | None:
        of_grpc = {span.trace_id for span in collector.spans if "grpc" in span.name.lower()}
        return stages <= {span.name for span in collector.spans if span.trace_id in of_grpc} or None

    assert wait_for(traced)


def test_the_picture_of_a_client_that_left_is_let_go_though_the_error_is_kept() -> None:
    class Picture(bytearray):
        pass

    pictures: list[weakref.ref[Picture]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        picture = Picture(b"a body")
        pictures.append(weakref.ref(picture))
        raise asyncio.CancelledError

    async def serve_keeps_the_error() -> asyncio.CancelledError:
        scope = {"type": "http", "method": "POST", "path": "/detect", "headers": []}
        try:
            await RequestMiddleware(app, records.append)(scope, None, None)  # type: ignore[arg-type]
        except asyncio.CancelledError as error:
            return error
        raise AssertionError("it must go on")

    records: list[RequestRecord] = []
    error = asyncio.run(serve_keeps_the_error())
    assert error.__traceback__ is not None
    assert pictures[0]() is None
    assert [record.status for record in records] == [499]
