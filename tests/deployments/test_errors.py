from __future__ import annotations

import pickle

import pytest

from azaion_engine.errors import AzaionError
from deployments import errors
from deployments.errors import OverloadedError, status_of
from tests.azaion_engine.test_errors import every_error as every_error_of_the_library


def every_error() -> list[type[AzaionError]]:
    """Returns the error classes of the library and of the service."""
    own = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, AzaionError)]
    return list(dict.fromkeys([*every_error_of_the_library(), *own]))


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_a_status_and_survives_a_process_boundary(kind):
    error = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(error) is kind
    assert str(error) == "what happened"
    assert error.code.replace("_", "").isalpha()
    assert 400 <= status_of(error) < 600


def test_every_code_with_a_status_of_its_own_is_an_errors():
    assert errors._STATUSES.keys() <= {kind.code for kind in every_error()}


def test_what_an_error_carries_survives_too():
    assert pickle.loads(pickle.dumps(OverloadedError("full", retry_after_s=7))).retry_after_s == 7
