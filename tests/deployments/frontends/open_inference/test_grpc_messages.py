"""gRPC messages through a real gRPC server, as Serve's proxy sets one up, without Ray."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from ray import serve

from azaion_engine.errors import PictureTooLargeError
from deployments.frontends.open_inference.generated import grpc_service_pb2 as protocol
from deployments.frontends.open_inference.grpc_messages import named_model
from deployments.frontends.open_inference.grpc_service import OpenInferenceGrpc, add_open_inference
from deployments.frontends.open_inference.tensors import WORTH_A_THREAD
from tests.deployments.access.keys_made import add_key
from tests.deployments.in_process import GrpcContext, Replica, replica
from tests.stand_in import grey_picture

Request = protocol.ModelInferRequest


def servicer(held: Replica) -> Any:
    """Does what Serve's proxy does: hands the request to the replica as it came, and its status to the client."""

    def method(name: str) -> Any:
        async def answer(request: Any, context: Any) -> bytes:
            status = GrpcContext()
            result = await getattr(held, name)(request, status)
            if status.code is not None:
                context.set_code(status.code)
                context.set_details(status.details)
            return result.SerializeToString()

        return answer

    names = [name for name in dir(OpenInferenceGrpc) if name[0].isupper()]
    return SimpleNamespace(**{name: method(name) for name in names})


class Server:
    """Replaces the serializer of each handler, as Serve's `gRPCGenericServer` does."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        methods = {
            name.rpartition("/")[2]: handler._replace(response_serializer=None)
            for name, handler in handlers[0]._method_handlers.items()
        }
        service = protocol.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))


def call(method: str, message: bytes) -> bytes:
    """Calls a method; raises grpc.RpcError."""

    async def once() -> bytes:
        server = grpc.aio.server()
        with replica() as held:
            add_open_inference(servicer(held), Server(server))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                    answer: bytes = await channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(message)
                    return answer
            finally:
                await server.stop(None)

    return asyncio.run(once())


def test_a_picture_is_answered() -> None:
    contents = protocol.InferTensorContents(bytes_contents=[grey_picture(7)])
    picture = Request.InferInputTensor(name="picture", datatype="BYTES", shape=[1], contents=contents)
    answer = call("ModelInfer", Request(model_name="stand-in", inputs=[picture]).SerializeToString())
    assert protocol.ModelInferResponse.FromString(answer).model_name == "stand-in"
    assert protocol.ServerLiveResponse.FromString(call("ServerLive", b"")).live


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelReady"])
def test_a_malformed_message_is_an_invalid_argument(method: str) -> None:
    with pytest.raises(grpc.RpcError, match="malformed") as caught:
        call(method, b"\xff\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("part", ["name", "datatype"])
def test_an_error_about_a_megabyte_of_text_still_reaches_the_client(part: str) -> None:
    fields = {"name": "picture", "datatype": "BYTES", part: "x" * 2**20}
    message = Request(model_name="stand-in", inputs=[Request.InferInputTensor(shape=[1], **fields)])
    with pytest.raises(grpc.RpcError, match="expected") as caught:
        call("ModelInfer", message.SerializeToString())
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(caught.value.details()) < 500


def test_the_model_of_a_message_is_known_before_it_is_parsed() -> None:
    assert named_model("ModelInfer", Request(model_name="cars", id="7").SerializeToString()) == "cars"
    assert named_model("ModelReady", protocol.ModelReadyRequest(name="cars").SerializeToString()) == "cars"
    assert named_model("ModelInfer", b"") == ""
    assert named_model("ServerLive", b"") is None


def test_only_a_message_with_tensors_may_be_large() -> None:
    data = protocol.ModelMetadataRequest(name="x" * (WORTH_A_THREAD + 1)).SerializeToString()
    with pytest.raises(PictureTooLargeError, match=f"has {len(data)} bytes, at most {WORTH_A_THREAD}"):
        named_model("ModelMetadata", data)
    assert named_model("ModelInfer", data) == "x" * (WORTH_A_THREAD + 1)


def test_a_message_with_another_models_id_in_its_metadata_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "get_multiplexed_model_id", lambda: "ship")
    with pytest.raises(grpc.RpcError, match="multiplexed_model_id is 'ship': expected 'stand-in'") as caught:
        call("ModelInfer", infer())
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    monkeypatch.setattr(serve, "get_multiplexed_model_id", lambda: "stand-in")
    assert protocol.ModelInferResponse.FromString(call("ModelInfer", infer())).model_name == "stand-in"


def infer() -> bytes:
    tensor = {"name": "picture", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [grey_picture(5)]}}
    return Request(model_name="stand-in", inputs=[tensor]).SerializeToString()


def statuses_with_keys(keys: Path, *calls: tuple[str, dict[str, str]]) -> list[GrpcContext]:
    """Calls methods with metadata on a replica that wants keys."""
    contexts = [GrpcContext(**metadata) for _, metadata in calls]

    async def run() -> None:
        for (method, _), context in zip(calls, contexts, strict=True):
            await getattr(held, method)(infer() if method == "ModelInfer" else b"", context)

    with replica(access={"keys_file": str(keys)}, batch_size=1) as held:
        asyncio.run(run())
    return contexts


def test_a_key_comes_in_the_metadata(tmp_path):
    secret = add_key(tmp_path / "keys")
    metadata = [{"authorization": f"Bearer {secret}"}, {"x_api_key": secret}, {"x_api_key": "wrong"}, {}]
    for method in ("ModelInfer", "ServerMetadata", "RepositoryIndex"):
        contexts = statuses_with_keys(tmp_path / "keys", *((method, each) for each in metadata))
        assert [context.code for context in contexts] == [None, None, *[grpc.StatusCode.UNAUTHENTICATED] * 2]


def test_grpc_probes_need_no_key(tmp_path):
    add_key(tmp_path / "keys")
    contexts = statuses_with_keys(tmp_path / "keys", ("ServerLive", {}), ("ServerReady", {}))
    assert [context.code for context in contexts] == [None, None]


def test_a_message_is_not_parsed_without_a_key(tmp_path):
    add_key(tmp_path / "keys")
    with replica(access={"keys_file": str(tmp_path / "keys")}) as held:
        context = GrpcContext()
        asyncio.run(held.ModelInfer(b"\xff\xff no message", context))
    assert context.code == grpc.StatusCode.UNAUTHENTICATED


def test_limits_are_resource_exhausted_with_the_time_to_wait(tmp_path):
    secret, off = add_key(tmp_path / "keys", daily=1), add_key(tmp_path / "keys", "off", enabled=False)
    calls = [("ModelInfer", {"x_api_key": each}) for each in (secret, secret, off)]
    passed, refused, disabled = statuses_with_keys(tmp_path / "keys", *calls)
    assert passed.code is None
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    [(name, seconds)] = refused.trailing
    assert name == "retry-after"
    assert 0 < int(seconds) <= 86400
    assert disabled.code == grpc.StatusCode.PERMISSION_DENIED
