"""Errors that the library raises on purpose, each with a stable code.

Two families: the caller can correct a `BadInputError`, which affects no other request; every other `AzaionError` is
for the operator.
"""

from __future__ import annotations


class AzaionError(Exception):
    """Base of all errors raised on purpose; `code` never changes once released.

    Attributes:
        code: Stable machine-readable name, snake_case.
    """

    code = "internal"

    def __reduce__(self) -> tuple[object, ...]:
        # Ray pickles errors between processes; subclasses with their own __init__ signature must survive.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[AzaionError], args: tuple[object, ...], state: dict[str, object]) -> AzaionError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


# --- the caller's input -------------------------------------------------------------------------


class BadInputError(AzaionError):
    """The input cannot be used; the message says what was given and what is expected."""

    code = "bad_input"


class InvalidTensorError(BadInputError):
    """An array handed to `InferenceEngine.run` has the wrong dtype, rank or size."""

    code = "invalid_tensor"


class InvalidParameterError(BadInputError):
    """A query parameter or keyword has a value that is not accepted."""

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
    """The bytes are not a picture, or a picture in a format that is not supported."""

    code = "not_a_picture"


class PictureTooLargeError(PictureError):
    """The picture has more bytes or more pixels than the configured limit."""

    code = "picture_too_large"


class TooManyBoxesError(PictureError):
    """The boxes of a picture's tiles lie so densely that merging them would take too long."""

    code = "too_many_boxes"


# --- load and lifetime --------------------------------------------------------------------------


class EngineClosedError(AzaionError):
    """The engine was closed before this call."""

    code = "engine_closed"


class GpuLostError(AzaionError):
    """The CUDA context is unusable (sticky error, GPU fell off the bus); only a new process helps."""

    code = "gpu_lost"


class ExecutionError(AzaionError):
    """The engine failed on this batch (e.g. out of memory, failed kernel launch); the next may succeed."""

    code = "execution_failed"


class OutOfMemoryError(AzaionError):
    """Memory for this picture is lacking at the moment; the same picture may succeed later."""

    code = "out_of_memory"


# --- models, engines and configuration ----------------------------------------------------------


class ConfigurationError(AzaionError):
    """The settings need something that this machine does not have."""

    code = "configuration"


class ModelError(AzaionError):
    """The ONNX model cannot be read or does not have the supported inputs and outputs."""

    code = "model_unsupported"


class EngineBuildError(AzaionError):
    """TensorRT could not turn the ONNX model into a plan; the message carries the parser's own errors."""

    code = "engine_build_failed"


class ToleranceError(AzaionError):
    """A quantised model's answers differ from the original's by more than the caller allows."""

    code = "tolerance_missed"


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
    """Returns why a file cannot be read; omits an OSError's path, which the caller's message already names."""
    return getattr(error, "strerror", None) or str(error)


QUOTED = 200
"""Maximum characters of a caller's input that an error message quotes."""


def quote(given: object) -> str:
    """Returns the `repr` of a caller's input for an error message, cut to `QUOTED` characters."""
    if isinstance(given, (str, bytes)) and len(given) > QUOTED:
        return f"{given[:QUOTED]!r}…"
    text = repr(given)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"
