"""Host of gRPC: Serve's servers listen where the service tells them, over Serve's own functions."""

from __future__ import annotations

import pytest
import ray
from ray.serve._private import default_impl, replica

from deployments.cluster import grpc_host


class Server:
    """Takes the place of a gRPC server."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def add_insecure_port(self, address: str) -> int:
        self.addresses.append(address)
        return 1


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_impl, "add_grpc_address", default_impl.add_grpc_address)
    monkeypatch.setattr(replica, "add_port_to_grpc_server", replica.add_port_to_grpc_server)


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:9000"), ("::1", "[::1]:9000"), ("", None)])
def test_grpc_listens_on_the_address_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, host: str, address: str | None
) -> None:
    monkeypatch.setenv(grpc_host.GRPC_HOST, host)
    grpc_host.listen_where_told()
    grpc_host.listen_where_told()  # once for the proxy, once for the replica of the same process
    server = Server()
    default_impl.add_grpc_address(server, "[::]:9000")
    default_impl.add_grpc_address(server, "10.0.0.1:9000")
    assert server.addresses == [address or "[::]:9000", "10.0.0.1:9000"]


@pytest.mark.parametrize(("node", "address"), [("127.0.0.1", "127.0.0.1:0"), ("10.0.0.7", "[::]:0")])
def test_a_replica_hides_its_internal_server_only_where_ray_itself_listens_on_loopback(
    monkeypatch: pytest.MonkeyPatch, node: str, address: str
) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: node)
    grpc_host.keep_internal_on_loopback()
    server = Server()
    replica.add_port_to_grpc_server(server, "[::]:0")
    assert server.addresses == [address]


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_told_from_other_addresses(host: str, local: bool) -> None:
    assert grpc_host.is_loopback(host) == local


def test_a_ray_without_these_functions_gets_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(default_impl, "add_grpc_address")
    monkeypatch.setenv(grpc_host.GRPC_HOST, "127.0.0.1")
    monkeypatch.setattr(grpc_host.logger, "propagate", True)
    grpc_host.listen_where_told()
    assert "gRPC listens on every address" in caplog.text
