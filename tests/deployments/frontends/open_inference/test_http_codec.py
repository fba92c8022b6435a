from __future__ import annotations

import gzip
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azaion_engine.errors import PictureTooLargeError
from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.bounds.json_numbers import NUMBERS
from deployments.frontends.open_inference.http_codec import decode_request, deflate, encode_answer, inflate
from deployments.frontends.open_inference.messages import InferAnswer, InferRequest, RequestedOutput
from deployments.frontends.open_inference.tensors import OutputTensor

TENSOR = {"name": "t", "datatype": "FP32", "shape": [2], "data": [1.5, 2.5]}


def body(**message) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@given(data=st.binary(max_size=2000))
def test_compressed_bodies_survive(encoding, compress, data):
    assert inflate(compress(data), encoding, 2000) == data
    packed, headers = deflate(data, f"br, {encoding};q=0.5")
    assert headers == {"Content-Encoding": encoding}
    assert inflate(packed, encoding, 2000) == data


def test_a_bomb_is_stopped_at_the_limit():
    bomb = gzip.compress(bytes(100_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(PictureTooLargeError, match="more than 1000 bytes"):
        inflate(bomb, "gzip", 1000)


@pytest.mark.parametrize(
    ("data", "encoding", "words"),
    [
        (gzip.compress(b"x" * 100, mtime=0)[:-10], "gzip", "cut off"),
        (b"rubbish", "gzip", "no valid gzip"),
        (b"rubbish", "br", "expected Content-Encoding gzip or deflate, given 'br'"),
    ],
)
def test_damaged_or_unknown_compression_is_refused(data, encoding, words):
    with pytest.raises(InvalidRequestError, match=words):
        inflate(data, encoding, 1000)


def test_nothing_is_compressed_that_the_client_does_not_ask_for():
    assert deflate(b"data", "br, identity") == (b"data", {})


def test_json_and_binary_inputs_mix():
    second = {"name": "u", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    third = {"name": "v", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
    header = body(id="7", inputs=[second, TENSOR, third], parameters={"confidence": 0.5})
    request = decode_request(header + np.float32(3.5).tobytes() + b"\x01\0\0\0x", len(header), 2)
    assert [tensor.array().tolist() for tensor in request.inputs] == [[3.5], [1.5, 2.5], [b"x"]]
    assert (request.id, request.parameters, request.outputs) == ("7", {"confidence": 0.5}, ())


@pytest.mark.parametrize(
    ("data", "json_bytes", "words"),
    [
        (b"", None, "no JSON"),
        (b"{", None, "no JSON"),
        (b"[]", None, "the request: expected an object, given list"),
        (b"{}", 3, "the body has 2 bytes"),
        (body(inputs=TENSOR), None, "inputs: expected an array, given dict"),
        (body(inputs=[1]), None, "each of inputs: expected an object"),
        (body(inputs=[{**TENSOR, "name": 1}]), None, "name: expected text, given 1"),
        (body(inputs=[{**TENSOR, "shape": [-1]}]), None, "expected a shape of whole numbers"),
        (body(inputs=[{**TENSOR, "shape": [True]}]), None, "expected a shape of whole numbers"),
        (body(inputs=[{**TENSOR, "data": 5}]), None, "expected `data` to be an array, given int"),
        (body(inputs=[{**TENSOR, "parameters": {"binary_data_size": 9}}]), None, "is 9, 0 bytes are left"),
        (body(inputs=[{**TENSOR, "parameters": {"binary_data_size": 0}}]), None, "either `data` or"),
        (body(inputs=[{**TENSOR, "parameters": {"content_type": "np"}}]), None, "expected 'base64'"),
        (body(inputs=[{"name": "t", "datatype": "FP32", "shape": [1], NUMBERS: -1}]), None, "either `data` or"),
        (body(inputs=[{"name": "t", "datatype": "FP32", "shape": [1], NUMBERS: 1}]), None, "either `data` or"),
        (body(inputs=[TENSOR]).replace(b"]}", b'],"data":["x"]}', 1), None, "`data` is given twice"),
        (body(inputs=[TENSOR], parameters=[]), None, "parameters: expected an object"),
        (body(inputs=[TENSOR], outputs=[{}]), None, "name: expected text, given None"),
        (body(inputs=[]) + b"1234", len(body(inputs=[])), "4 binary bytes were sent"),
    ],
)
def test_a_malformed_request_is_refused_with_what_was_expected(data, json_bytes, words):
    with pytest.raises(InvalidRequestError, match=words):
        decode_request(data, json_bytes, 2)


@given(st.lists(st.sampled_from([None, True, False]), min_size=3, max_size=3), st.sampled_from([None, True, False]))
def test_outputs_come_in_the_form_asked_for_each_or_for_all(wishes, for_all):
    tensors = [
        OutputTensor("a", "FP32", np.array([[1.5, 2.5]], np.float32)),
        OutputTensor("b", "BYTES", np.array([b"x", b"yy"], object)),
        OutputTensor("c", "INT32", np.zeros((0, 3), np.int32)),
    ]
    request = InferRequest(
        (),
        tuple(RequestedOutput(tensor.name, wish) for tensor, wish in zip(tensors, wishes, strict=True)),
        parameters={} if for_all is None else {"binary_data_output": for_all},
    )
    data, json_bytes = encode_answer(InferAnswer("m", "1", "id", tensors), request)
    message = json.loads(data[:json_bytes])
    assert (message["model_name"], message["model_version"], message["id"]) == ("m", "1", "id")
    at = json_bytes
    for tensor, wish, told in zip(tensors, wishes, message["outputs"], strict=True):
        assert (told["name"], told["datatype"], told["shape"]) == (tensor.name, tensor.datatype, tensor.shape)
        if bool(for_all) if wish is None else wish:
            size = told["parameters"]["binary_data_size"]
            assert data[at : at + size] == tensor.to_bytes()
            at += size
        else:
            assert told["data"] == tensor.to_list()
    assert at in (None, len(data))
