"""azaion_client: HTTP client of a running service, synchronous or for asyncio.

It ships with azaion-engine but imports nothing of it: a machine that only sends pictures must not load GPU libraries,
Ray or a model. It imports httpx (connections, pooling, timeouts), pydantic (answers checked and typed in one step) and
the standard library. Client and service share only the HTTP contract of `docs/openapi.json`.

    with Client("http://127.0.0.1:8000") as client:
        for box in client.detect("a.jpg", confidence=0.4, classes=["car"]):
            print(box.class_name, box.confidence, box.x1, box.y1, box.x2, box.y2)
"""

from __future__ import annotations

from azaion_client.async_client import AsyncClient
from azaion_client.client import Client
from azaion_client.errors import (
    AccessError,
    BadPictureError,
    ClientError,
    DeadlineExceededError,
    InvalidParameterError,
    LimitError,
    NotReadyError,
    OverloadedError,
    RequestFailedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from azaion_client.results import Box, Detections, Head, Limits, ModelCard, ModelName, Size, Timing
from azaion_client.retry import RetryPolicy

__all__ = [
    "AccessError",
    "AsyncClient",
    "BadPictureError",
    "Box",
    "Client",
    "ClientError",
    "DeadlineExceededError",
    "Detections",
    "Head",
    "InvalidParameterError",
    "LimitError",
    "Limits",
    "ModelCard",
    "ModelName",
    "NotReadyError",
    "OverloadedError",
    "RequestFailedError",
    "RetryPolicy",
    "Size",
    "Timing",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
]
