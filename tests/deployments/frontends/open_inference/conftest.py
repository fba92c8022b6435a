from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest


@pytest.fixture(scope="module")
def channel(running_serve) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running_serve.grpc_address) as channel:
        yield channel
