from __future__ import annotations

import pytest

from deployments.batching.places import Places
from deployments.errors import OverloadedError


def test_who_comes_when_all_are_taken_is_refused_and_a_freed_place_is_given_again() -> None:
    places = Places(2, "both are taken")
    with places:
        with places:
            with pytest.raises(OverloadedError, match="both are taken"), places:
                raise AssertionError("there was no place")
            with pytest.raises(OverloadedError):
                places.refuse_when_full()
        with places:
            assert places.taken == 2
    assert places.taken == 0


def test_an_error_in_the_block_gives_its_place_back() -> None:
    places = Places(1, "taken")
    with pytest.raises(ZeroDivisionError), places:
        raise ZeroDivisionError
    places.refuse_when_full()
