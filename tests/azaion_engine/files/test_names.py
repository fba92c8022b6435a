"""suffix_of: the suffix that paths have."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azaion_engine.files.names import suffix_of


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("a/b.JPG", ".jpg"),
        ("a.d/b", ""),
        ("a.d/.jpg", ""),
        ("b.tar.gz", ".gz"),
        ("b.", ""),
        ("..jpg", ".jpg"),
        ("\udce9.png", ".png"),
    ],
)
def test_the_suffix_is_what_follows_the_last_dot_of_a_name(path: str, suffix: str) -> None:
    assert suffix_of(path) == suffix


# Python 3.14 takes a dot alone for a suffix.
@given(st.text("a.J/~ é\udce9", max_size=9).filter(lambda path: not path.endswith(("/", "."))))
def test_it_is_that_of_a_path(path: str) -> None:
    assert suffix_of(path) == PurePosixPath(path).suffix.lower()
