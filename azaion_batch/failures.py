"""Failures of the job: errors that end it, on their way from a worker to the process that began it."""

from __future__ import annotations

import traceback

from azaion_engine.errors import AzaionError


def portable(error: Exception) -> Exception:
    """Returns an error that can be pickled: the library's and the system's as they are, a bug's traceback as text."""
    if isinstance(error, (AzaionError, OSError)):
        return error
    return RuntimeError("".join(traceback.format_exception(error)).rstrip())
