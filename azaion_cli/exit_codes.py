"""ExitCode: the exit statuses of the command, for scripts."""

from __future__ import annotations

from enum import IntEnum

from azaion_engine.errors import (
    AzaionError,
    EngineBuildError,
    InvalidParameterError,
    ModelError,
    PictureError,
    PlanError,
    ToleranceError,
)
from deployments.errors import UnknownModelError


class ExitCode(IntEnum):
    """Exit statuses; their meaning never changes once released."""

    OK = 0
    PICTURES_FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    MODEL = 4
    BOUND_MISSED = 5
    TOLERANCE_MISSED = 6
    BUG = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141


EPILOG = (
    "Exit codes: 0 done; 1 some pictures failed; 2 wrong usage; 3 something is missing or refused on this machine "
    "(GPU, TensorRT, a package, the disk); 4 the model or plan cannot be used or built; "
    "5 no setting keeps the latency bound; 6 the quantised model differs by more than the tolerance; 70 a bug; "
    "130 interrupted."
)
"""70 is EX_SOFTWARE (sysexits.h); 130 and 141 are 128 + SIGINT and 128 + SIGPIPE, as shells report them."""


def exit_code_of(error: AzaionError) -> ExitCode:
    """Returns the exit code of an error that ended a command."""
    if isinstance(error, (InvalidParameterError, UnknownModelError)):
        return ExitCode.USAGE
    if isinstance(error, PictureError):
        return ExitCode.PICTURES_FAILED
    if isinstance(error, (ModelError, EngineBuildError, PlanError)):
        return ExitCode.MODEL
    if isinstance(error, ToleranceError):
        return ExitCode.TOLERANCE_MISSED
    return ExitCode.ENVIRONMENT
