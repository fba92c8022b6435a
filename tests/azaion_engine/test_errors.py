from __future__ import annotations

import pickle

import pytest

from azaion_engine import errors
from azaion_engine.errors import AzaionError


def every_error() -> list[type[AzaionError]]:
    return [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, AzaionError)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_survives_a_process_boundary(kind):
    error = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(error) is kind
    assert str(error) == "what happened"
    assert error.code.replace("_", "").isalpha()
