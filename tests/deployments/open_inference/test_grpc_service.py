"""The gRPC form through Serve's own proxy, with the project's own messages; NVIDIA's clients send no typed contents."""

from __future__ import annotations

import time

import grpc
import numpy as np
import pytest

from azaion_engine.errors import BadInputError
from deployments.open_inference.generated import grpc_service_pb2 as protocol
from deployments.open_inference.status import GRPC_CODES, describe
from tests.azaion_engine.test_errors import every_error
from tests.deployments.conftest import Deployed
from tests.stand_in import LOST, grey_picture, open_slow_stand_in

Input = protocol.ModelInferRequest.InferInputTensor


@pytest.fixture(scope="module")
def app(running_serve):
    return running_serve.deploy(max_pictures=4)


@pytest.fixture(scope="module")
def channel(running_serve):
    with grpc.insecure_channel(running_serve.grpc_address) as channel:
        yield channel


def call(channel, method: str, app: Deployed | None, **fields):
    """Calls a method; several applications are told apart by metadata."""
    service = protocol.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    described = service.methods_by_name[method]
    rpc = channel.unary_unary(
        f"/{service.full_name}/{method}",
        request_serializer=getattr(protocol, described.input_type.name).SerializeToString,
        response_deserializer=getattr(protocol, described.output_type.name).FromString,
    )
    metadata = (("application", app.name),) if app else ()
    return rpc(getattr(protocol, described.input_type.name)(**fields), timeout=30, metadata=metadata)


def fails(code: grpc.StatusCode, channel, method: str, app: Deployed | None, **fields) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, app, **fields)
    assert caught.value.code() == code, caught.value
    return caught.value.details()


def picture(*values: int) -> Input:
    contents = protocol.InferTensorContents(bytes_contents=[grey_picture(value) for value in values])
    return Input(name="picture", datatype="BYTES", shape=[len(values)], contents=contents)


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


def test_half_precision_without_raw_contents_is_an_invalid_argument(channel, app):
    row = Input(name="images", datatype="FP16", shape=[1, 3, 32, 32])
    details = fails(
        grpc.StatusCode.INVALID_ARGUMENT, channel, "ModelInfer", app, model_name="stand-in_raw", inputs=[row]
    )
    assert "needs 6144 bytes, given 0" in details


def test_what_is_not_served_is_unimplemented(channel, app):
    fails(grpc.StatusCode.UNIMPLEMENTED, channel, "SystemSharedMemoryStatus", app)
    fails(grpc.StatusCode.UNIMPLEMENTED, channel, "RepositoryModelLoad", app)


def test_one_application_needs_no_name_and_several_do(channel, running_serve):
    app = running_serve.deploy(max_pictures=4)
    running_serve.keep_only(app)
    assert call(channel, "ServerLive", None).live
    second = running_serve.deploy(max_pictures=2)
    assert call(channel, "ModelReady", second, name="stand-in").ready
    assert "application" in fails(grpc.StatusCode.NOT_FOUND, channel, "ServerLive", None).lower()


def test_overload_is_unavailable(channel, running_serve):
    app = running_serve.deploy(open_slow_stand_in, own=True, max_queue=1, batch_size=1)
    running = app.handle.detect.remote(grey_picture(1))
    time.sleep(0.3)
    one_more = {"model_name": "stand-in", "inputs": [picture(5)]}
    assert "queue is full" in fails(grpc.StatusCode.UNAVAILABLE, channel, "ModelInfer", app, **one_more)
    running.result()


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_over_http_and_a_code_over_grpc(kind):
    status, message = describe(kind("what happened"), "here")
    assert message == "what happened"
    code = grpc.StatusCode[GRPC_CODES.get(status, "INTERNAL")]
    if issubclass(kind, BadInputError):
        assert status in (400, 404, 413)
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    else:
        assert status == kind.http_status
        expected = {503: grpc.StatusCode.UNAVAILABLE, 504: grpc.StatusCode.DEADLINE_EXCEEDED}
        assert code == expected.get(status, grpc.StatusCode.INTERNAL)


def test_a_lost_gpu_is_unavailable_and_not_ready(channel, running_serve):
    app = running_serve.deploy(own=True)
    lost = {"model_name": "stand-in", "inputs": [picture(LOST)]}
    fails(grpc.StatusCode.UNAVAILABLE, channel, "ModelInfer", app, **lost)
    assert not call(channel, "ServerReady", app).ready
    assert not call(channel, "ModelReady", app, name="stand-in").ready
    assert call(channel, "ServerLive", app).live
