"""Which models a request may be told of and use: with keys, without, and where it needs none."""

from __future__ import annotations

import pytest

from deployments.access.caller import calling, known, refuse_forbidden, told
from deployments.access.keys import Key
from deployments.errors import ModelForbiddenError
from tests.deployments.access.keys_made import CREATED

MODELS = ("cars", "ships")


def key(*models: str) -> Key:
    return Key(name="lab", sha256="0" * 64, created=CREATED, models=models or None)


def test_where_no_keys_are_configured_every_model_may_be_told_and_used() -> None:
    assert known(MODELS) == ["cars", "ships"]
    refuse_forbidden("ships")


@pytest.mark.parametrize(
    ("caller", "names"), [(key(), "cars, ships"), (key("ships"), "ships"), (key("planes"), "others"), (None, "others")]
)
def test_a_request_is_told_of_the_models_of_its_key(caller: Key | None, names: str) -> None:
    with calling(caller):
        assert told(MODELS, "others") == names
    assert told(MODELS, "others") == "cars, ships"


def test_a_key_for_other_models_is_refused_and_what_needs_no_key_is_not() -> None:
    with calling(key("cars")):
        refuse_forbidden("cars")
        with pytest.raises(ModelForbiddenError, match="the key 'lab' is not for the model 'ships'"):
            refuse_forbidden("ships")
    with calling(None):
        refuse_forbidden("ships")
