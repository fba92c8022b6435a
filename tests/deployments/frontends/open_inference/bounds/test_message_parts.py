"""Message parts: protobuf messages that would allocate much more than their size."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.bounds.message_parts import MOST_PARTS, check_parts, text_of
from deployments.frontends.open_inference.generated import grpc_service_pb2 as protocol

Request = protocol.ModelInferRequest
Input = Request.InferInputTensor


def check(message: bytes, most_values: int = 100) -> None:
    check_parts(Request.DESCRIPTOR, message, most_values)


def test_requests_of_every_kind_pass():
    contents = protocol.InferTensorContents(fp32_contents=[1.5] * 100, uint_contents=[255] * 100)
    parameters = {"confidence": protocol.InferParameter(double_param=0.5)}
    request = Request(
        model_name="m",
        id="1",
        parameters=parameters,
        inputs=[Input(name="i", shape=[1, 2], contents=contents, parameters=parameters)],
        outputs=[Request.InferRequestedOutputTensor(name="o")],
        raw_input_contents=[b"x" * 100_000],
    )
    check(request.SerializeToString())


@pytest.mark.parametrize(
    "request_",
    [
        Request(inputs=[Input()] * (MOST_PARTS + 1)),
        Request(inputs=[Input(contents={"bytes_contents": [b""] * (MOST_PARTS + 1)})]),
        Request(raw_input_contents=[b""] * (MOST_PARTS + 1)),
    ],
    ids=["inputs", "texts", "raw"],
)
def test_a_great_many_empty_parts_are_refused(request_):
    with pytest.raises(InvalidRequestError, match=f"more than the {MOST_PARTS} fields"):
        check(request_.SerializeToString())


@pytest.mark.parametrize("field", ["fp32_contents", "int64_contents", "uint_contents", "fp64_contents"])
def test_more_numbers_than_the_model_takes_are_refused_by_name(field):
    message = Request(inputs=[Input(contents={field: [1] * 201})]).SerializeToString()
    with pytest.raises(InvalidRequestError, match=f"{field} has more than the 100 numbers"):
        check(message)


@given(st.binary(max_size=60))
def test_what_protobuf_refuses_is_refused_and_nothing_else_happens(data):
    from google.protobuf.message import DecodeError

    try:
        check(data, 10**6)
    except InvalidRequestError:
        return
    with contextlib.suppress(DecodeError):
        Request.FromString(data)


@given(st.text(), st.lists(st.integers(0, 2**60)))
def test_what_protobuf_wrote_passes(name, shape):
    check(Request(inputs=[Input(name=name, shape=shape)]).SerializeToString(), 1000)


@given(st.text(), st.text(), st.integers(0, 3))
def test_a_text_is_read_from_a_message_that_is_not_parsed_as_a_parser_reads_it(first, last, inputs):
    tensors = [Input(name="no", shape=[1, 2])] * inputs
    message = Request(model_name=first, id="i", inputs=tensors, raw_input_contents=[b"x" * 1000])
    data = message.SerializeToString() + Request(model_name=last).SerializeToString()
    assert text_of(data, 1) == Request.FromString(data).model_name
    assert text_of(data, 3) == "i"
    assert text_of(data, 2) == ""


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\xff\xff\xff", b"\x0b", b"\x12\x00" * (MOST_PARTS + 1)])
def test_no_text_is_read_from_what_is_no_message_or_has_too_many_parts(data):
    with pytest.raises(InvalidRequestError):
        text_of(data, 1)
