from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from azaion_cli.tuning.service import NotServedError, free_ports, reason_in, running_service

LOG = """
\x1b[36m(ServeController pid=7)\x1b[0m ERROR 2026-11-28 controller 7 -- Exception in Replica(id='f'), stopped.
\x1b[36m(ServeController pid=7)\x1b[0m Traceback (most recent call last):
\x1b[36m(ServeController pid=7)\x1b[0m azaion_engine.errors.EngineBuildError: TensorRT refused the model: out of memory
\x1b[36m(ServeController pid=7)\x1b[0m INFO 2026-11-28 controller 7 -- Replica(id='f') is stopped.
"""


def test_the_reason_is_the_last_error_else_the_last_line():
    assert reason_in(LOG) == "TensorRT refused the model: out of memory"
    assert reason_in("Traceback\nValueError: no such thing\n\n") == "no such thing"
    assert reason_in("usage: serve\nwrong option\n") == "wrong option"
    assert reason_in("") == "it said nothing"


def test_free_ports_differ_can_be_bound_and_are_none_that_ray_or_the_system_gives_away():
    ports = free_ports(4)
    assert len(set(ports)) == 4
    lowest_of_system = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(20_000 <= port < lowest_of_system for port in ports)
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_service_that_ends_is_not_served_and_says_why():
    broken = {"http_options": {}, "grpc_options": {}, "applications": "none"}
    with pytest.raises(NotServedError, match="ended with"), running_service(broken, 1, b"", time.monotonic() + 100):
        pass
