"""Caller: whose request the current one is, and so which models it may use and be told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from deployments.access.keys import Key


class _Caller(NamedTuple):
    key: Key | None


_current: ContextVar[_Caller | None] = ContextVar("caller", default=None)
"""None: no keys are configured, or the caller is a Python program inside of the cluster."""


@contextmanager
def calling(key: Key | None) -> Iterator[None]:
    """Makes a key that of the current request, until the end of the block, where keys are configured.

    Args:
        key: The key; None if the request needs none, as a probe.
    """
    token = _current.set(_Caller(key))
    try:
        yield
    finally:
        _current.reset(token)


def known(models: Iterable[str]) -> list[str]:
    """Returns those of some models that the current request may be told of: where keys are configured, its key's."""
    if (caller := _current.get()) is None:
        return list(models)
    return [model for model in models if caller.key is not None and caller.key.is_for(model)]


def told(models: Iterable[str], otherwise: str) -> str:
    """Returns names of models for a message: those that the current request may be told of.

    Args:
        models: The names.
        otherwise: What is said in their place if it is told of none.
    """
    return ", ".join(known(models)) or otherwise


def refuse_forbidden(model: str) -> None:
    """Refuses a model to a request whose key is for others; a request that needs no key may name every model.

    Raises:
        ModelForbiddenError: Names the key and the model.
    """
    if (caller := _current.get()) is not None and caller.key is not None:
        caller.key.refuse_forbidden(model)
