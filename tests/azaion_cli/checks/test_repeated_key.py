"""Keys that a YAML file has twice in one block: found wherever they are, and nothing else is."""

from __future__ import annotations

import re

import pytest

from azaion_cli.checks.repeated_key import repeated_key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' is there twice in one block, in lines 1 and 3"),
        ("args:\n  models:\n    cars: {model: a}\n    ships: {}\n    'cars': {model: b}\n", "'cars' .* lines 3 and 5"),
        ("list:\n- x\n- {a: 1, a: 1}\n", "'a' .* lines 3 and 3"),
        ("1: a\n1: b\n", "'1'"),
        ("a: &x {b: 1, b: 2}\nc: *x\n", "'b'"),
    ],
)
def test_a_key_that_is_there_twice_is_told_with_its_lines(text: str, told: str) -> None:
    assert re.search(told, repeated_key(text))


@pytest.mark.parametrize(
    "text",
    [
        "a: {b: 1}\nc: {b: 1}\n",
        "- {a: 1}\n- {a: 1}\n",
        "cars: 1\nCars: 2\n",
        "x: &x {a: 1}\ny: &y {b: 2}\nz:\n  <<: *x\n  <<: *y\n  a: 3\n",
        "a: &a [*a]\n",
        "",
        "{",
        "\0",
    ],
)
def test_a_file_without_one_is_left_to_its_reader(text: str) -> None:
    assert repeated_key(text) == ""
