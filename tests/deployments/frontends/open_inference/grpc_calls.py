"""Calls of the protocol's gRPC methods, with the messages that the build generated."""

from __future__ import annotations

import grpc
import pytest

from deployments.frontends.open_inference.generated import grpc_service_pb2 as protocol
from tests.running_serve import Deployed
from tests.stand_in import grey_picture

Input = protocol.ModelInferRequest.InferInputTensor


def call(channel, method: str, app: Deployed | None, request_id: str = "", **fields):
    """Calls a method; several applications are told apart by metadata."""
    service = protocol.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    described = service.methods_by_name[method]
    rpc = channel.unary_unary(
        f"/{service.full_name}/{method}",
        request_serializer=getattr(protocol, described.input_type.name).SerializeToString,
        response_deserializer=getattr(protocol, described.output_type.name).FromString,
    )
    metadata = (("application", app.name),) if app else ()
    metadata += (("request_id", request_id),) if request_id else ()
    return rpc(getattr(protocol, described.input_type.name)(**fields), timeout=30, metadata=metadata)


def fails(code: grpc.StatusCode, channel, method: str, app: Deployed | None, **fields) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, app, **fields)
    assert caught.value.code() == code, caught.value
    return caught.value.details()


def picture(*values: int) -> Input:
    contents = protocol.InferTensorContents(bytes_contents=[grey_picture(value) for value in values])
    return Input(name="picture", datatype="BYTES", shape=[len(values)], contents=contents)
