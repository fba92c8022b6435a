from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.deployments.conftest import RunningServe, serving


@pytest.fixture(scope="package")
def running_serve() -> Iterator[RunningServe]:
    """One Serve for all tests of the protocol."""
    with serving() as running:
        yield running


@pytest.fixture(scope="package")
def channel(running_serve) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running_serve.grpc_address) as channel:
        yield channel
