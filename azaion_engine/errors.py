"""Every error this project raises on purpose, each knowing its stable code and its HTTP status.

Two families: `BadInputError` is the caller's to mend (4xx, nothing else is lost), every other
`AzaionError` is the operator's (5xx, or a refusal to start).
"""

from __future__ import annotations


class AzaionError(Exception):
    """Base of all errors raised on purpose; `code` never changes once released.

    Attributes:
        code: Stable machine-readable name, snake_case.
        http_status: Status of the HTTP answer that carries this error.
    """

    code = "internal"
    http_status = 500

    def __reduce__(self) -> tuple[object, ...]:
        # Ray pickles errors between processes; subclasses with own __init__ signatures must survive.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[AzaionError], args: tuple[object, ...], state: dict[str, object]) -> AzaionError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


# --- the caller's input -------------------------------------------------------------------------


class BadInputError(AzaionError):
    """What was sent cannot be used; the message names what was given and what is expected."""

    code = "bad_input"
    http_status = 422


class InvalidTensorError(BadInputError):
    """An array handed to `InferenceEngine.run` has the wrong dtype, rank or size."""

    code = "invalid_tensor"


class InvalidParameterError(BadInputError):
    """A query parameter or keyword is outside what is accepted."""

    code = "invalid_parameter"


class InvalidRequestError(BadInputError):
    """A message of the Open Inference Protocol that is malformed or does not fit the model's tensors."""

    code = "invalid_request"
    http_status = 400


class UnknownModelError(BadInputError):
    """No model of that name and version is served here."""

    code = "unknown_model"
    http_status = 404


class PictureError(BadInputError):
    """A picture cannot be turned into pixels."""

    code = "picture_undecodable"
    http_status = 400


class UndecodablePictureError(PictureError):
    """The bytes start like a picture but are damaged or truncated."""


class EmptyBodyError(PictureError):
    """No bytes were sent where a picture was expected."""

    code = "empty_body"


class UnsupportedPictureError(PictureError):
    """The bytes are no picture, or a picture in a format that is not supported."""

    code = "not_a_picture"
    http_status = 415


class PictureTooLargeError(PictureError):
    """The picture has more bytes or more pixels than the configured limit."""

    code = "picture_too_large"
    http_status = 413


# --- load and lifetime --------------------------------------------------------------------------


class OverloadedError(AzaionError):
    """The bounded queue is full; the caller may try again after `retry_after_s`.

    Attributes:
        retry_after_s: Whole seconds after which a retry is sensible (the Retry-After header).
    """

    code = "overloaded"
    http_status = 503

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceededError(AzaionError):
    """The answer would have come later than the configured time limit."""

    code = "deadline_exceeded"
    http_status = 504


class EngineClosedError(AzaionError):
    """The engine was closed before this call."""

    code = "engine_closed"
    http_status = 503


class GpuLostError(AzaionError):
    """The CUDA context is unusable (sticky error, GPU fell off the bus); only a new process helps."""

    code = "gpu_lost"
    http_status = 503


class ExecutionError(AzaionError):
    """The engine failed on this batch (out of memory, a kernel that would not start); the next may succeed."""

    code = "execution_failed"


# --- models, engines and configuration ----------------------------------------------------------


class ConfigurationError(AzaionError):
    """The settings ask for something this machine cannot give."""

    code = "configuration"


class ModelError(AzaionError):
    """The ONNX model cannot be read or does not have the supported inputs and outputs."""

    code = "model_unsupported"


class EngineBuildError(AzaionError):
    """TensorRT could not turn the ONNX model into a plan; the message carries the parser's own errors."""

    code = "engine_build_failed"


class PlanError(AzaionError):
    """A plan cannot be deserialised here: truncated, corrupt, or made by another TensorRT or for another GPU."""

    code = "plan_unusable"


class CacheError(AzaionError):
    """A stored engine cannot be removed: it is in use, or the disk refuses."""

    code = "cache"


class MissingDependencyError(AzaionError):
    """An optional package (TensorRT, PyCUDA, NVML) is not installed or cannot load its libraries."""

    code = "dependency_missing"


def reason(error: Exception) -> str:
    """Returns why a file cannot be read: of a system's error its words alone, as the path is named already."""
    return getattr(error, "strerror", None) or str(error)
