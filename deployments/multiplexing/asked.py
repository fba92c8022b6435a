"""Asked: which model the current request is about, and its service when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from deployments.service import DetectorService


class Asked(NamedTuple):
    """What a request is about.

    Attributes:
        model: Name of the model; None: of no model in particular.
        service: Answers it; None until the model is loaded.
    """

    model: str | None
    service: DetectorService | None = None


_current: ContextVar[Asked] = ContextVar("asked")


@contextmanager
def asking(asked: Asked) -> Iterator[None]:
    """Makes it what the current request is about, until the end of the block."""
    token = _current.set(asked)
    try:
        yield
    finally:
        _current.reset(token)


def asked_model() -> str | None:
    """Returns the name of the model of the current request; None if it is about none in particular."""
    return _current.get().model


def asked_service() -> DetectorService:
    """Returns the service of the current request, whose model is loaded."""
    service = _current.get().service
    assert service is not None  # set while the request holds its model
    return service
