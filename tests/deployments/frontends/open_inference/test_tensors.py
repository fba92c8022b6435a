from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.tensors import NUMPY, InputTensor, OutputTensor, pack_bytes, unpack_bytes

NUMBERS = {name: dtype for name, dtype in NUMPY.items() if name != "BYTES"}


def finite(dtype: np.dtype) -> st.SearchStrategy:
    options = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    return nst.from_dtype(dtype, **options)


shapes = nst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
numbers = st.sampled_from(sorted(NUMBERS)).flatmap(
    lambda name: st.tuples(st.just(name), nst.arrays(NUMBERS[name], shapes, elements=finite(NUMBERS[name])))
)


def objects(elements: list[bytes]) -> np.ndarray:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


texts = st.lists(st.text(max_size=9).map(str.encode), max_size=8).map(objects)


def back(tensor: OutputTensor, content) -> np.ndarray:
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), content).array()


@given(numbers)
def test_numbers_survive_both_forms(case):
    tensor = OutputTensor("t", *case)
    np.testing.assert_array_equal(back(tensor, tensor.to_bytes()), tensor.array)
    np.testing.assert_array_equal(back(tensor, memoryview(tensor.to_bytes())), tensor.array)
    np.testing.assert_array_equal(back(tensor, tensor.to_list()), tensor.array)


@given(texts)
def test_texts_survive_both_forms(array):
    tensor = OutputTensor("t", "BYTES", array)
    np.testing.assert_array_equal(back(tensor, tensor.to_bytes()), array)
    np.testing.assert_array_equal(back(tensor, tensor.to_list()), array)


@given(st.lists(st.binary()))
def test_elements_of_any_bytes_survive_packing(elements):
    assert unpack_bytes(pack_bytes(elements), len(elements)) == elements


@given(st.lists(st.binary(min_size=1), min_size=1), st.data())
def test_packed_elements_that_are_cut_off_are_refused(elements, data):
    packed = pack_bytes(elements)
    ends = np.cumsum([4 + len(element) for element in elements])
    cut = data.draw(st.integers(1, len(packed) - 1).filter(lambda at: at not in ends))
    with pytest.raises(InvalidRequestError, match="expected each element after its length"):
        unpack_bytes(packed[:cut], len(elements))


def test_a_length_beyond_the_data_allocates_nothing():
    with pytest.raises(InvalidRequestError, match="4294967299"):
        unpack_bytes(struct.pack("<I", 2**32 - 1), 1)


def test_nested_json_arrays_are_flattened():
    assert InputTensor("t", "INT32", (2, 2), [[1, 2], [3, 4]]).array().tolist() == [[1, 2], [3, 4]]
    assert InputTensor("t", "BYTES", (2, 1), [["a"], ["b"]]).array().tolist() == [[b"a"], [b"b"]]


def test_base64_carries_any_bytes_through_json():
    assert InputTensor("t", "BYTES", (1,), ["/9j/"], base64=True).array().tolist() == [b"\xff\xd8\xff"]


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (InputTensor("t", "FP32", (3,), b"1234"), "needs 12 bytes, given 4"),
        (InputTensor("t", "FP32", (3,), [1.0]), "needs 3 elements, given 1"),
        (InputTensor("t", "FP32", (3,), ["a", "b", "c"]), "no FP32"),
        (InputTensor("t", "FP32", (2,), [[1.0], [2.0, 3.0]]), "no FP32"),
        (InputTensor("t", "INT32", (1,), [2**40]), "no INT32"),
        (InputTensor("t", "BYTES", (2,), ["a"]), "needs 2 elements, given 1"),
        (InputTensor("t", "BYTES", (2**40,), ["a"]), "given 1"),
        (InputTensor("t", "BYTES", (1,), [7]), "expected text for BYTES, given int"),
        (InputTensor("t", "BYTES", (1,), ["?"], base64=True), "no base64"),
        (InputTensor("t", "BYTES", (1,), b"\x05\0\0\0abc"), "input 't': element 0"),
        (InputTensor("t", "BYTES", (2,), bytes(4 * 3)), "input 't': .* more than the 2 elements of its shape"),
        (InputTensor("t", "BYTES", (3,), bytes(4 * 2)), "needs 3 elements, given 2"),
    ],
)
def test_content_that_does_not_fit_is_refused_by_name(tensor, words):
    with pytest.raises(InvalidRequestError, match=words):
        tensor.array()


def test_numbers_in_binary_form_are_not_copied():
    body = memoryview(bytearray(16))
    array = InputTensor("t", "FP32", (4,), body).array()
    body[0:4] = struct.pack("<f", 7.0)
    assert array[0] == 7.0


@pytest.mark.parametrize("datatype", ["FP32", "FP16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_infinite_numbers_and_nan_are_refused_by_name_in_every_form(datatype, value):
    data = np.array([1, 2, value, 4], NUMBERS[datatype])
    for content in (data.tobytes(), data.astype(np.float32), data.tolist()):
        with pytest.raises(InvalidRequestError, match=rf"input 't': expected finite numbers .*given -?{abs(value)} at"):
            InputTensor("t", datatype, (4,), content).array()


def test_numbers_beyond_the_datatype_are_refused_and_not_wrapped():
    for value in (256.0, -1.0, 1.5):
        with pytest.raises(InvalidRequestError, match="no UINT8"):
            InputTensor("t", "UINT8", (1,), np.array([value], np.float32)).array()
    with pytest.raises(InvalidRequestError, match="finite"):
        InputTensor("t", "FP16", (1,), np.array([1e6], np.float32)).array()
