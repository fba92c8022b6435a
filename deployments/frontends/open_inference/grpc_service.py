"""gRPC service: the protocol's methods, called by Serve's gRPC proxy on the deployment's class.

A Serve config names `add_open_inference` under `grpc_options: grpc_servicer_functions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ray import serve

from azaion_engine.errors import quote
from deployments.access.caller import calling
from deployments.batching.deadline import Deadline
from deployments.errors import InvalidRequestError
from deployments.frontends.failures import Failure, explain
from deployments.frontends.open_inference import grpc_codec
from deployments.frontends.open_inference.grpc_messages import (
    answer_class,
    check_size,
    parse_request,
    protocol_service,
)
from deployments.frontends.open_inference.messages import protocol_status
from deployments.frontends.open_inference.tensors import WORTH_A_THREAD
from deployments.watching.record import RequestRecord, current_request
from deployments.watching.request_id import safe_id
from deployments.watching.tracing import export_if_traced

if TYPE_CHECKING:  # Serve's gRPC proxies import this module too, and need neither OpenCV nor the engines
    from deployments.access.keys import Key
    from deployments.frontends.open_inference.repository import ModelRepository
    from deployments.reception import Reception
    from deployments.service import DetectorService

Method = Callable[..., Awaitable[Any]]

_SERVICE = "inference.GRPCInferenceService"

_GRPC_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    413: "INVALID_ARGUMENT",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Names of the gRPC status codes by HTTP status; INTERNAL for every other status."""


def add_trailing(grpc_context: Any, headers: Mapping[str, str]) -> None:
    """Adds HTTP's headers to the metadata that end the answer."""
    if headers:
        more = [(name.lower(), value) for name, value in headers.items()]
        grpc_context.set_trailing_metadata([*grpc_context.trailing_metadata(), *more])


def grpc_code_of(failure: Failure) -> str:
    """Returns the name of the gRPC status code of a failure."""
    return _GRPC_CODES.get(protocol_status(failure), "INTERNAL")


_OPEN = ("ServerLive", "ServerReady")
"""Methods that need no key."""


def add_open_inference(servicer: Any, server: Any) -> None:
    """Registers the methods of `OpenInferenceGrpc`; gRPC itself answers UNIMPLEMENTED to all others.

    Args:
        servicer: Object of Serve's proxy with the methods.
        server: The proxy's gRPC server.
    """
    import grpc

    service = protocol_service()
    handlers = {
        # No deserializer: `_rpc` parses, so that a malformed message gets a status of its own, and none is parsed that
        # is larger than its model could use.
        method.name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            response_serializer=answer_class(method.name).SerializeToString,
        )
        for method in service.methods
        if hasattr(OpenInferenceGrpc, method.name)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _watched(method: Method) -> Any:
    """Wraps a method to record its calls, as `RequestMiddleware` does for HTTP."""

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
            self.reception.request_over(record)

    answer.__name__, answer.__doc__ = method.__name__, method.__doc__
    return answer


def _rpc(method: Method) -> Any:
    """Wraps a method: makes its result (message or fields) a message, and its exception a status."""

    async def answer(self: Any, request: Any, grpc_context: Any) -> Any:
        kind = answer_class(method.__name__)
        try:
            async with self.received(method.__name__, request, grpc_context):
                result = await method(self, await self.parse(method.__name__, request))
        except Exception as error:
            import grpc

            failure = explain(error, method.__name__)
            status = protocol_status(failure)
            if (record := current_request.get()) is not None:
                record.status = status
            # Set, not raised: Serve would log a traceback for a client's mistake, in two processes.
            grpc_context.set_code(grpc.StatusCode[grpc_code_of(failure)])
            grpc_context.set_details(failure.message)
            add_trailing(grpc_context, failure.headers)
            return kind()
        if isinstance(result, dict):
            from google.protobuf.json_format import ParseDict

            return ParseDict(result, kind())
        return result

    answer.__name__, answer.__doc__ = method.__name__, method.__doc__
    return answer


class OpenInferenceGrpc:
    """The protocol's methods, a mixin of the deployment, whose repository they use."""

    reception: Reception
    service: DetectorService
    repository: ModelRepository

    def pick(self) -> DetectorService:
        """Returns the service for a new request."""
        return self.service

    def repository_of(self, service: DetectorService) -> ModelRepository:
        """Returns the models of one of this replica's services."""
        return self.repository

    async def parse(self, method: str, data: bytes) -> Any:
        """Parses a request, in a thread if it is large.

        Raises:
            PictureTooLargeError: No model of this replica takes as many bytes.
            InvalidRequestError: It is no message of the method.
        """
        limits = [model.limits for model in self.repository.models.values()]
        check_size(len(data), max((limit.binary_bytes for limit in limits), default=WORTH_A_THREAD))
        most = max((limit.values for limit in limits), default=0)
        if len(data) > WORTH_A_THREAD:
            return await self.service.convert(parse_request, method, data, most)
        return parse_request(method, data, most)

    @asynccontextmanager
    async def received(self, method: str, data: bytes, grpc_context: Any) -> AsyncIterator[None]:
        """Admits a request, which is parsed and answered in the block.

        Args:
            method: Name of the method.
            data: The request, not parsed.
            grpc_context: Serve's.

        Raises:
            BadInputError: As `key_of` and `admitted`.
        """
        with await self.admitted(self.key_of(method, grpc_context), pictures=method == "ModelInfer"):
            yield

    def key_of(self, method: str, grpc_context: Any) -> Key | None:
        """Returns the key in the metadata `authorization` or `x-api-key`; None if none is needed.

        Raises:
            UnauthorizedError: There is no key, or an unknown one.
        """
        guard = self.reception.guard
        if guard is None or method in _OPEN:
            return None
        metadata = dict(grpc_context.invocation_metadata())
        key = guard.key_of(_text(metadata.get("authorization")), _text(metadata.get("x-api-key")))
        if (record := current_request.get()) is not None:
            record.key = key.name
        return key

    async def admitted(self, key: Key | None, pictures: bool) -> AbstractContextManager[object]:
        """Admits a key, if one is needed, as `Guard.admit`; enter the result for the call's duration.

        Raises:
            BadInputError: As `Guard.admit`.
        """
        guard = self.reception.guard
        if guard is None:
            return nullcontext()
        return calling(None) if key is None else await guard.admit(key, pictures)

    def hold_message(self, data: bytes) -> None:
        """Counts a message among the bodies that are held until their requests are over.

        Raises:
            OverloadedError: As `Reception.hold_body`.
        """
        if (record := current_request.get()) is not None:
            self.reception.hold_body(record, len(data))

    @_rpc
    async def ServerLive(self, request: Any) -> dict[str, Any]:
        """Answers as long as the process lives."""
        return {"live": True}

    @_rpc
    async def ServerReady(self, request: Any) -> dict[str, Any]:
        """Tells whether the server is ready."""
        return {"ready": self.repository.ready()}

    @_rpc
    async def ModelReady(self, request: Any) -> dict[str, Any]:
        """Tells whether the model is ready."""
        self.repository.model(request.name, request.version)
        return {"ready": self.repository.ready()}

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
        """Tells counts and times of one model, or of each, on this replica."""
        return self.repository.statistics(request.name, request.version)

    @_rpc
    async def RepositoryIndex(self, request: Any) -> dict[str, Any]:
        """Lists the models."""
        return {"models": self.repository.index()}

    @_watched
    @_rpc
    async def ModelInfer(self, request: Any) -> Any:
        """Runs a model."""
        service = self.pick()
        repository = self.repository_of(service)
        model = repository.model(request.model_name, request.model_version)
        # Serve would split batches by it: a caller could have each of its pictures run alone.
        if (told := serve.get_multiplexed_model_id()) and told not in repository.models:
            raise InvalidRequestError(
                f"the metadata multiplexed_model_id is {quote(told)}: expected {model.name!r}, or none"
            )
        service.refuse_when_full()
        check_size(request.ByteSize(), model.limits.binary_bytes)
        with Deadline(service.settings.timeout_s):
            return grpc_codec.encode_answer(await model.infer(grpc_codec.decode_request(request)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
