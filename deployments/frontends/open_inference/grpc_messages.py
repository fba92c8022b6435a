"""gRPC messages: the protocol's classes of requests and answers, and the parsing of requests within bounds.

The generated messages are imported where they are used: a clone that was never installed lacks them, and still serves
HTTP.
"""

from __future__ import annotations

from typing import Any

from azaion_engine.errors import QUOTED, PictureTooLargeError
from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.bounds.message_parts import check_parts, text_of
from deployments.frontends.open_inference.tensors import WORTH_A_THREAD


def protocol_service() -> Any:
    """Returns the descriptor of the protocol's service."""
    return _generated().DESCRIPTOR.services_by_name["GRPCInferenceService"]


def answer_class(method: str) -> Any:
    """Returns the class of the answers of a method."""
    return getattr(_generated(), protocol_service().methods_by_name[method].output_type.name)


def named_model(method: str, data: bytes) -> str | None:
    """Returns the model that a request names, before it is parsed.

    Args:
        method: Name of the method.
        data: The request.

    Returns:
        The name, empty if it is missing; None if requests of the method name none.

    Raises:
        InvalidRequestError: It is no message.
        PictureTooLargeError: It is large, and requests of the method have no tensors.
    """
    if method != "ModelInfer":
        check_size(len(data), WORTH_A_THREAD)
    fields = protocol_service().methods_by_name[method].input_type.fields_by_name
    field = fields.get("model_name") or fields.get("name")
    return None if field is None else text_of(data, field.number)


def parse_request(method: str, data: bytes, most_values: int) -> Any:
    """Returns a request's message.

    Args:
        method: Name of the method.
        data: The request.
        most_values: Maximum number of values in its tensors.

    Raises:
        InvalidRequestError: It is no message of the method, or has more values.
    """
    from google.protobuf.message import DecodeError

    kind = getattr(_generated(), protocol_service().methods_by_name[method].input_type.name)
    check_parts(kind.DESCRIPTOR, data, most_values)
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidRequestError(f"the message is no {kind.DESCRIPTOR.name}: {str(error)[:QUOTED]}") from error


def check_size(given: int, limit: int) -> None:
    """Raises PictureTooLargeError if a message has more bytes than are accepted."""
    if given > limit:
        raise PictureTooLargeError(f"the message has {given} bytes, at most {limit} are accepted")


def _generated() -> Any:
    from deployments.frontends.open_inference.generated import grpc_service_pb2

    return grpc_service_pb2
