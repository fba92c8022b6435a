from __future__ import annotations

import pickle

import pytest

from azaion_engine import errors
from azaion_engine.errors import AzaionError, OverloadedError


def every_error() -> list[type[AzaionError]]:
    return [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, AzaionError)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_a_status_and_survives_a_process_boundary(kind):
    error = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(error) is kind
    assert str(error) == "what happened"
    assert error.code.replace("_", "").isalpha()
    assert 400 <= error.http_status < 600


def test_what_an_error_carries_survives_too():
    assert pickle.loads(pickle.dumps(OverloadedError("full", retry_after_s=7))).retry_after_s == 7
