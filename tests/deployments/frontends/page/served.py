"""Served: the service in this process, over HTTP, for a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from azaion_engine.detector import Detector
from deployments.frontends.asgi import create_api
from deployments.settings import ServiceSettings
from tests.deployments.in_process import replica
from tests.stand_in import open_stand_in


@contextmanager
def served(opener: Callable[[ServiceSettings], Detector] = open_stand_in, **settings: Any) -> Iterator[str]:
    """Serves what `opener` opens, by default a stand-in; yields the page's address."""
    server = uvicorn.Server(uvicorn.Config(create_api(), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    with replica(opener, **settings):
        thread.start()
        try:
            deadline = time.monotonic() + 60
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()
