"""JSON numbers: the same as a JSON parser reads, or refused."""

from __future__ import annotations

import json
import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.bounds import json_numbers
from deployments.frontends.open_inference.bounds.json_numbers import MOST_PARTS, NUMBERS, take_numbers

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**24), 2**24)
arrays = st.just([]) | st.recursive(
    st.lists(numbers, min_size=1, max_size=6), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=9
)
others = st.dictionaries(st.text(max_size=5), st.text(max_size=12) | st.booleans() | st.lists(st.text(max_size=3)))


def flat(values) -> list:
    return [number for value in values for number in (flat(value) if isinstance(value, list) else [value])]


def is_number(value: object) -> bool:
    """Python's parser reads 1E309 as infinity, which is no number of JSON's and no value of a tensor."""
    return isinstance(value, (int, float)) and math.isfinite(value)


@given(arrays, others, st.sampled_from([None, 1]), st.sampled_from([8, 10**6]))
def test_arrays_are_taken_out_and_all_else_stays(array, other, indent, piece):
    message = {"a": other, "inputs": [{**other, "data": array, "shape": [1]}, {"data": ["text", '"data": [1]']}]}
    text = json.dumps(message, indent=indent).encode()
    with mock.patch.object(json_numbers, "_PIECE", piece):
        rest, taken = take_numbers(text, 100)
    left = json.loads(rest)
    [first, second] = left["inputs"]
    np.testing.assert_array_equal(taken[first.pop(NUMBERS)], np.array(flat(array), np.float32))
    assert second == message["inputs"][1]
    assert first == {**{key: value for key, value in other.items() if key != "data"}, "shape": [1]}


@example("1E309", 10**6)
@example("100,", 4)
@example("[[[[,1]]]]", 4)
@given(st.text('[]0123456789.eE+-, \t"a{}:', max_size=30), st.sampled_from([4, 10**6]))
def test_what_is_no_json_is_never_taken_for_numbers(array, piece):
    text = b'{"data":[%b]}' % array.encode()
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    try:
        with mock.patch.object(json_numbers, "_PIECE", piece):
            rest, taken = take_numbers(text, 100)
        read = json.loads(rest)
    except (InvalidRequestError, ValueError):
        ragged = "[]" in "".join(array.split())  # no tensor has an empty array among numbers
        assert expected is None or ragged or not all(map(is_number, flat(expected["data"])))
        return
    assert expected is not None
    if NUMBERS in read:
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(taken[0], np.array(flat(expected["data"]), np.float64).astype(np.float32))


def test_reading_ends_with_one_number_too_many():
    assert len(take_numbers(b'{"data":[%b]}' % b",".join([b"1"] * 100), 100)[1][0]) == 100
    with pytest.raises(InvalidRequestError, match="more than 100 numbers"):
        take_numbers(b'{"data":[%b]}' % b",".join([b"1"] * 101), 100)
    with pytest.raises(InvalidRequestError, match="more than 100 numbers"):
        take_numbers(b'{"a":{"data":[%b]},"b":{"data":[1,2]}}' % b",".join([b"1"] * 99), 100)


@pytest.mark.parametrize("part", [b"[],", b"{},", b'"",', b"null,"])
def test_other_parts_are_counted_before_a_parser_sees_them(part):
    with pytest.raises(InvalidRequestError, match=f"more than the {MOST_PARTS} arrays"):
        take_numbers(b'{"inputs":[%b1]}' % (part * (MOST_PARTS + 1)), 100)


@pytest.mark.parametrize("value", [b"[0]", b'[""]', b"[null]", b"0"])
def test_a_great_many_members_are_refused(value):
    with pytest.raises(InvalidRequestError, match='"data" more than the 100 times'):
        take_numbers(b'{"inputs":[%b{}]}' % (b'{"data":%b},' % value * 101), 10**6)


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_json_has_not_are_named(value):
    with pytest.raises(InvalidRequestError, match="NaN or Infinity"):
        take_numbers(b'{"data":[1,2,%b]}' % value, 100)


def test_an_element_without_end_is_refused():
    with pytest.raises(InvalidRequestError, match="more than 65536 characters"):
        take_numbers(b'{"data":[%b]}' % (b"1" * 2**20), 100)
