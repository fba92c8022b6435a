"""The protocol's gRPC methods, called by Serve's gRPC proxy on the replica's own class.

A Serve config names `add_open_inference` under `grpc_options: grpc_servicer_functions`. The generated messages are
imported where they are used: a clone that was never installed has none, and still serves HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from azaion_engine.errors import PictureTooLargeError
from deployments.frontends.open_inference import grpc_codec
from deployments.frontends.open_inference.status import GRPC_CODES, describe, error_code
from deployments.watching.record import RequestRecord, current_request
from deployments.watching.request_id import safe_id
from deployments.watching.tracing import export_if_traced

if TYPE_CHECKING:
    from deployments.frontends.open_inference.repository import ModelRepository

Method = Callable[..., Awaitable[Any]]

_SERVICE = "inference.GRPCInferenceService"


def add_open_inference(servicer: Any, server: Any) -> None:
    """Registers the methods of `OpenInferenceGrpc`; gRPC itself answers UNIMPLEMENTED to the protocol's others.

    Args:
        servicer: Where Serve's proxy finds the methods.
        server: Its server.
    """
    import grpc

    service, messages = _protocol()
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            request_deserializer=getattr(messages, method.input_type.name).FromString,
            response_serializer=getattr(messages, method.output_type.name).SerializeToString,
        )
        for method in service.methods
        if hasattr(OpenInferenceGrpc, method.name)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _watched(method: Method) -> Any:
    """Has the calls of a method counted, logged and traced, as `RequestMiddleware` does over HTTP."""

    async def answer(self: Any, request: Any, grpc_context: Any) -> Any:
        record = RequestRecord(
            safe_id(grpc_context.request_id() or str(uuid4())), "gRPC", f"/{_SERVICE}/{method.__name__}"
        )
        token = current_request.set(record)
        try:
            result = await method(self, request, grpc_context)
            record.respond(record.status or 200)
            export_if_traced(record)
            return result
        except asyncio.CancelledError:
            record.status, record.outcome = 499, "cancelled"
            record.failed("cancelled")
            raise
        finally:
            current_request.reset(token)
            self.request_over(record)

    answer.__name__, answer.__doc__ = method.__name__, method.__doc__
    return answer


def _rpc(method: Method) -> Any:
    """Turns what a method returns, a message or its fields, into the message, and what it raises into a status."""

    async def answer(self: Any, request: Any, grpc_context: Any) -> Any:
        service, messages = _protocol()
        kind = getattr(messages, service.methods_by_name[method.__name__].output_type.name)
        try:
            result = await method(self, request)
        except Exception as error:
            import grpc

            status, message = describe(error, method.__name__)
            if (record := current_request.get()) is not None:
                record.failed(error_code(error, status))
                record.status = status
            # Set, not raised: Serve would log a client's mistake with its traceback in two processes.
            grpc_context.set_code(grpc.StatusCode[GRPC_CODES.get(status, "INTERNAL")])
            grpc_context.set_details(message)
            return kind()
        if isinstance(result, dict):
            from google.protobuf.json_format import ParseDict

            return ParseDict(result, kind())
        return result

    answer.__name__, answer.__doc__ = method.__name__, method.__doc__
    return answer


class OpenInferenceGrpc:
    """The methods; mixed into the deployment, whose repository they ask."""

    repository: ModelRepository

    @_rpc
    async def ServerLive(self, request: Any) -> dict[str, Any]:
        """Answers as long as the process lives."""
        return {"live": True}

    @_rpc
    async def ServerReady(self, request: Any) -> dict[str, Any]:
        """Tells whether requests would be answered."""
        return {"ready": await self.repository.ready()}

    @_rpc
    async def ModelReady(self, request: Any) -> dict[str, Any]:
        """Tells whether the model would answer."""
        self.repository.model(request.name, request.version)
        return {"ready": await self.repository.ready()}

    @_rpc
    async def ServerMetadata(self, request: Any) -> dict[str, Any]:
        """Tells name, version and extensions of the server."""
        return self.repository.server_metadata()

    @_rpc
    async def ModelMetadata(self, request: Any) -> dict[str, Any]:
        """Tells the model's inputs and outputs."""
        return self.repository.model(request.name, request.version).metadata()

    @_rpc
    async def ModelConfig(self, request: Any) -> dict[str, Any]:
        """Tells the model's configuration as Triton does."""
        return {"config": self.repository.model(request.name, request.version).config()}

    @_rpc
    async def ModelStatistics(self, request: Any) -> dict[str, Any]:
        """Tells what one model, or each, has answered on this replica."""
        return self.repository.statistics(request.name, request.version)

    @_rpc
    async def RepositoryIndex(self, request: Any) -> dict[str, Any]:
        """Lists the models."""
        return {"models": self.repository.index()}

    @_watched
    @_rpc
    async def ModelInfer(self, request: Any) -> Any:
        """Runs a model."""
        model = self.repository.model(request.model_name, request.model_version)
        model.replica.refuse_when_full()
        if (given := request.ByteSize()) > model.max_body_bytes:  # reading typed contents costs ten times their bytes
            raise PictureTooLargeError(f"the message has {given} bytes, at most {model.max_body_bytes} are accepted")
        return grpc_codec.encode_answer(await model.infer(grpc_codec.decode_request(request)))


def _protocol() -> tuple[Any, Any]:
    """Returns the protocol's service descriptor and the module of its messages."""
    from deployments.frontends.open_inference.generated import grpc_service_pb2

    return grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"], grpc_service_pb2
