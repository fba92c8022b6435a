"""Errors that the library raises on purpose, each with a stable code.

Two families: `BadInputError` is the caller's to mend, and nothing else is lost; every other `AzaionError` is the
operator's.
"""

from __future__ import annotations


class AzaionError(Exception):
    """Base of all errors raised on purpose; `code` never changes once released.

    Attributes:
        code: Stable machine-readable name, snake_case.
    """

    code = "internal"

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


class InvalidTensorError(BadInputError):
    """An array handed to `InferenceEngine.run` has the wrong dtype, rank or size."""

    code = "invalid_tensor"


class InvalidParameterError(BadInputError):
    """A query parameter or keyword is outside what is accepted."""

    code = "invalid_parameter"


class PictureError(BadInputError):
    """A picture cannot be turned into pixels."""

    code = "picture_undecodable"


class UndecodablePictureError(PictureError):
    """The bytes start like a picture but are damaged or truncated."""


class EmptyBodyError(PictureError):
    """No bytes were sent where a picture was expected."""

    code = "empty_body"


class UnsupportedPictureError(PictureError):
    """The bytes are no picture, or a picture in a format that is not supported."""

    code = "not_a_picture"


class PictureTooLargeError(PictureError):
    """The picture has more bytes or more pixels than the configured limit."""

    code = "picture_too_large"


# --- load and lifetime --------------------------------------------------------------------------


class EngineClosedError(AzaionError):
    """The engine was closed before this call."""

    code = "engine_closed"


class GpuLostError(AzaionError):
    """The CUDA context is unusable (sticky error, GPU fell off the bus); only a new process helps."""

    code = "gpu_lost"


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
    """A stored plan cannot be removed: it is in use, or the disk refuses."""

    code = "cache"


class MissingDependencyError(AzaionError):
    """An optional package (TensorRT, PyCUDA, NVML) is not installed or cannot load its libraries."""

    code = "dependency_missing"


def reason(error: Exception) -> str:
    """Returns why a file cannot be read: of a system's error its words alone, as the path is named already."""
    return getattr(error, "strerror", None) or str(error)
