"""configs/nginx.conf: the real nginx ends TLS in front of the service, over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import uvicorn

from deployments.frontends.asgi import create_api
from deployments.frontends.open_inference.bounds.body_limits import HEADER_BYTES, MOST_JSON_BYTES
from deployments.frontends.open_inference.grpc_service import add_open_inference
from deployments.settings import ServiceSettings
from tests.deployments.frontends.open_inference.grpc_calls import call, fails, picture
from tests.deployments.in_process import GrpcContext, Replica, replica
from tests.running_serve import free_port
from tests.stand_in import grey_picture

FILE = Path(__file__).parents[2] / "configs" / "nginx.conf"
NAME = "detector.example.com"

pytestmark = pytest.mark.skipif(
    not shutil.which("nginx") and "AZAION_REQUIRE_NGINX" not in os.environ, reason="nginx is not installed"
)


@dataclass
class Proxied:
    """The service behind nginx.

    Attributes:
        port: TLS.
        plain_port: HTTP without TLS.
        certificate: Of nginx, self-signed.
        clients: Addresses of the connections that reached the service.
        stop_service: Ends the service; nginx stays.
    """

    port: int
    plain_port: int
    certificate: Path
    stop_service: Any
    clients: list[Any] = field(default_factory=list)

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://localhost:{self.port}",
            headers={"Host": NAME},
            verify=ssl.create_default_context(cafile=str(self.certificate)),
            timeout=30,
            **options,
        )

    def channel(self) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(self.certificate.read_bytes())
        return grpc.secure_channel(f"localhost:{self.port}", credentials)


class GrpcMethods:
    """The replica's methods, called as Serve's gRPC proxy calls them."""

    def __init__(self, served: Replica) -> None:
        self._served = served

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._served, name)

        async def answer(request: Any, context: Any) -> Any:
            told = GrpcContext()
            reply = await method(request, told)
            if told.code is not None:
                await context.abort(told.code, told.details)
            return reply

        return answer


def run_service(served: Replica, clients: list[Any], ports: tuple[int, int], stop: Future[Any]) -> None:
    """Runs HTTP and gRPC of a service without Ray until `stop` has its function called."""
    api = create_api()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        clients.append(scope.get("client"))
        await api(scope, receive, send)

    async def main() -> None:
        # Without proxy_headers, the client is nginx's connection, not the address that it names.
        options = {"host": "127.0.0.1", "port": ports[0], "lifespan": "off", "proxy_headers": False}
        http = uvicorn.Server(uvicorn.Config(watched, log_config=None, **options))
        server = grpc.aio.server()
        add_open_inference(GrpcMethods(served), server)
        server.add_insecure_port(f"127.0.0.1:{ports[1]}")
        await server.start()

        def end() -> None:
            http.should_exit = True

        stop.set_result(end)
        await http.serve()
        await server.stop(0)

    asyncio.run(main())


def configuration(folder: Path, ports: dict[str, int]) -> Path:
    """Writes the shipped file with other ports and a certificate made here; returns its path."""
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*make, *files], check=True, capture_output=True)
    text = FILE.read_text()
    for old, new in (
        ("/etc/nginx/certificate.pem", f"{folder}/cert.pem"),
        ("/etc/nginx/key.pem", f"{folder}/key.pem"),
        ("listen 443 ", f"listen 127.0.0.1:{ports['tls']} "),
        ("listen 80;", f"listen 127.0.0.1:{ports['plain']};"),
        ("127.0.0.1:8000", f"127.0.0.1:{ports['http']}"),
        ("127.0.0.1:9000", f"127.0.0.1:{ports['grpc']}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "nginx.conf"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("nginx")
    ports = {name: free_port() for name in ("tls", "plain", "http", "grpc")}
    path = configuration(folder, ports)
    user = "user root; " if os.getuid() == 0 else ""
    directives = f"daemon off; {user}pid {folder}/pid; error_log {folder}/error.log;"
    command = ["nginx", "-p", str(folder), "-c", str(path), "-g", directives]
    subprocess.run([*command, "-t"], check=True, capture_output=True, text=True)
    stop: Future[Any] = Future()
    clients: list[Any] = []
    with replica() as served:
        arguments = (served, clients, (ports["http"], ports["grpc"]), stop)
        thread = threading.Thread(target=run_service, args=arguments, daemon=True)
        thread.start()

        def stop_service() -> None:
            if thread.is_alive():
                stop.result(30)()
                thread.join(30)

        nginx = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            found = Proxied(ports["tls"], ports["plain"], folder / "cert.pem", stop_service, clients)
            deadline = time.monotonic() + 30
            while True:
                try:
                    with found.client() as client:
                        if client.get("/readyz").status_code == 200:
                            break
                except httpx.TransportError:
                    pass
                assert time.monotonic() < deadline, (folder / "error.log").read_text()
                time.sleep(0.1)
            yield found
        finally:
            nginx.terminate()
            nginx.wait(30)
            stop_service()


def test_pictures_are_answered_over_tls_on_connections_that_stay_open(proxied: Proxied) -> None:
    del proxied.clients[:]
    with proxied.client() as client:
        for value in range(5):
            answer = client.post("/detect", content=grey_picture(value))
            assert answer.json()["boxes"][0]["class_id"] == value
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.headers["x-content-type-options"] == "nosniff"
        many = client.post("/detect", files=[("picture", grey_picture(6)), ("picture", grey_picture(7))]).json()
        assert [each["boxes"][0]["class_id"] for each in many["pictures"]] == [6, 7]
        assert client.get("/v2/models/stand-in").json()["name"] == "stand-in"
        assert "<title>" in client.get("/").text
    assert len(set(proxied.clients)) == 1, "nginx opens no connection for each request"


def begin_to_send(proxied: Proxied, path: str, length: int) -> tuple[int, dict[str, Any]]:
    """Announces a body, sends its first bytes, and returns status and error of the answer that comes all the same."""
    tls = ssl.create_default_context(cafile=str(proxied.certificate))
    plain = socket.create_connection(("127.0.0.1", proxied.port), timeout=20)
    with tls.wrap_socket(plain, server_hostname="localhost") as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 100)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, json.loads(answer.read())["error"]


def test_the_service_refuses_a_large_picture_before_it_has_arrived(proxied: Proxied) -> None:
    most = ServiceSettings().max_picture_bytes
    status, error = begin_to_send(proxied, "/detect", most + 1)
    assert (status, f"at most {most}" in error["message"]) == (413, True)


def test_nginx_refuses_what_no_request_may_have_in_the_services_error_shape(proxied: Proxied) -> None:
    for path, most in (("/detect", 1024 * 2**20), ("/v2/models/stand-in/infer", 428 * 2**20), ("/page/x", 2**20)):
        status, error = begin_to_send(proxied, path, most + 1)
        assert (status, error["code"], error["message"]) == (
            413,
            "picture_too_large",
            "the body is larger than the proxy accepts",
        )


def test_the_bounds_are_those_of_the_service() -> None:
    settings = ServiceSettings()
    tensors = 16 * 3 * 1280 * 1280 * 4
    bounds = [int(size) * 2**20 for size in re.findall(r"client_max_body_size (\d+)m;", FILE.read_text())]
    assert bounds[1:] == [
        settings.max_picture_bytes * settings.pictures_at_once,
        tensors + MOST_JSON_BYTES,
        tensors + HEADER_BYTES,
    ]


def test_grpc_passes(proxied: Proxied) -> None:
    with proxied.channel() as channel:
        answer = call(channel, "ModelInfer", None, model_name="stand-in", inputs=[picture(5, 6)])
        assert answer.model_name == "stand-in"
        assert len(answer.outputs) + len(answer.raw_output_contents) > 1
        fails(grpc.StatusCode.NOT_FOUND, channel, "ModelMetadata", None, name="nothing")


def test_plain_http_is_sent_to_tls_by_the_name_of_the_service(proxied: Proxied) -> None:
    answer = httpx.get(f"http://127.0.0.1:{proxied.plain_port}/docs?a=b", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{NAME}/docs?a=b")


def test_a_service_that_is_away_is_503_over_http_and_unavailable_over_grpc(proxied: Proxied) -> None:
    proxied.stop_service()
    with proxied.client() as client:
        answer = client.post("/detect", content=grey_picture(1))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert json.loads(answer.text)["error"]["code"] == "not_ready"
    with proxied.channel() as channel:
        told = fails(grpc.StatusCode.UNAVAILABLE, channel, "ServerLive", None)
    assert told == "the service does not answer"
