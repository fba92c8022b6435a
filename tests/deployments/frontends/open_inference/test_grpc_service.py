"""gRPC service behind Serve's proxy, called with typed contents, which NVIDIA's clients never send."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from deployments.frontends.open_inference.generated import grpc_service_pb2 as protocol
from tests.deployments.frontends.open_inference.grpc_calls import Input, call, fails, picture


@pytest.fixture(scope="module")
def app(running_serve):
    return running_serve.plain()


def test_typed_contents_are_read_like_raw_ones(channel, app):
    answer = call(channel, "ModelInfer", app, model_name="stand-in", id="a", inputs=[picture(5, 6)])
    assert (answer.model_name, answer.model_version, answer.id) == ("stand-in", "1", "a")
    tensors = dict(zip([output.name for output in answer.outputs], answer.raw_output_contents, strict=True))
    assert np.frombuffer(tensors["class_ids"], "<i4").tolist() == [5, 6]

    values = np.full(3 * 32 * 32, 7 / 255, np.float32)
    contents = protocol.InferTensorContents(fp32_contents=values.tolist())
    row = Input(name="images", datatype="FP32", shape=[1, 3, 32, 32], contents=contents)
    answer = call(channel, "ModelInfer", app, model_name="stand-in_raw", inputs=[row])
    assert np.frombuffer(answer.raw_output_contents[0], "<f4")[5] == 7


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": [Input(name="picture", datatype="BYTES", shape=[-1])]}, "[-1]"),
        ({"inputs": [picture(5)], "raw_input_contents": [b"", b""]}, "1 inputs were sent with 2 raw_input_contents"),
        ({"inputs": [Input(name="picture", datatype="BYTES", shape=[1])]}, "needs 1 elements, given 0"),
    ],
)
def test_a_malformed_message_is_an_invalid_argument(channel, app, fields, words):
    assert words in fails(grpc.StatusCode.INVALID_ARGUMENT, channel, "ModelInfer", app, model_name="stand-in", **fields)


def test_what_perf_analyzer_adds_to_a_request_is_no_mistake(channel, app):
    flag = {"triton_enable_empty_final_response": protocol.InferParameter(bool_param=False)}
    answer = call(channel, "ModelInfer", app, model_name="stand-in", inputs=[picture(5)], parameters=flag)
    assert len(answer.outputs) == 5


def test_a_message_larger_than_the_model_could_use_is_refused_before_it_is_read(channel, app):
    large = Input(name="images", datatype="FP32", shape=[1], contents={"fp32_contents": [0.0] * 2_000_000})
    details = fails(
        grpc.StatusCode.INVALID_ARGUMENT, channel, "ModelInfer", app, model_name="stand-in_raw", inputs=[large]
    )
    assert "fp32_contents has more than the 49152 numbers that the model takes" in details


def test_half_precision_without_raw_contents_is_an_invalid_argument(channel, app):
    row = Input(name="images", datatype="FP16", shape=[1, 3, 32, 32])
    details = fails(
        grpc.StatusCode.INVALID_ARGUMENT, channel, "ModelInfer", app, model_name="stand-in_raw", inputs=[row]
    )
    assert "needs 6144 bytes, given 0" in details


def test_what_is_not_served_is_unimplemented(channel, app):
    fails(grpc.StatusCode.UNIMPLEMENTED, channel, "SystemSharedMemoryStatus", app)
    fails(grpc.StatusCode.UNIMPLEMENTED, channel, "RepositoryModelLoad", app)


def test_one_application_needs_no_name_and_several_do(channel, running_serve, plain_alone):
    assert call(channel, "ServerLive", None).live
    second = running_serve.deploy(max_pictures=2)
    assert call(channel, "ModelReady", second, name="stand-in").ready
    assert "application" in fails(grpc.StatusCode.NOT_FOUND, channel, "ServerLive", None).lower()
