"""Steps: what a conversation with the service asks its client to do."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from azaion_client.picture import Picture

Result = TypeVar("Result")


@dataclass(frozen=True)
class Send:
    """Step: send a request; its outcome is the whole `httpx.Response` or the `httpx.RequestError`.

    Attributes:
        method: GET or POST.
        path: Below the base URL.
        timeout_s: Timeout of each network operation, seconds.
        params: Query parameters.
        headers: Added to the client's own.
        content: The body, if it is not multipart.
        files: Parts of a multipart body: (field, (file name, bytes, type)).
    """

    method: str
    path: str
    timeout_s: float = 5.0
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: list[tuple[str, tuple[str, bytes, str]]] | None = None


@dataclass(frozen=True)
class Pause:
    """Step: wait; its outcome is None."""

    seconds: float


@dataclass(frozen=True)
class Read:
    """Step: read a picture; its outcome is bytes."""

    picture: Picture


Step = Send | Pause | Read
Conversation = Generator[Step, Any, Result]
