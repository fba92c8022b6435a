from __future__ import annotations

import time

import pytest

from azaion_cli.tuning.service import NotServedError, reason_in, running_service

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


def test_a_service_that_ends_is_not_served_and_says_why():
    broken = {"http_options": {}, "grpc_options": {}, "applications": "none"}
    with pytest.raises(NotServedError, match="ended with"), running_service(broken, 1, b"", time.monotonic() + 100):
        pass
