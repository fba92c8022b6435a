"""azaion_client: asks a running service for boxes, from code that waits or from asyncio.

It comes with azaion-engine and shares nothing with it: a machine that sends pictures has no GPU, no Ray and no model,
and should not load them to send bytes. So it imports httpx (connections, pooling, timeouts), pydantic (answers checked
and typed in one step) and the standard library, and what the two sides agree on is the HTTP contract of
`docs/openapi.json` alone.

    with Client("http://127.0.0.1:8000") as client:
        for box in client.detect("a.jpg", confidence=0.4, classes=["car"]):
            print(box.class_name, box.confidence, box.x1, box.y1, box.x2, box.y2)
"""

from __future__ import annotations

from azaion_client.client import AsyncClient, Client
from azaion_client.errors import (
    BadPictureError,
    ClientError,
    DeadlineExceededError,
    InvalidParameterError,
    NotReadyError,
    OverloadedError,
    RequestFailedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from azaion_client.results import Box, Detections, Limits, ModelCard, ModelName, Size, Timing
from azaion_client.retry import RetryPolicy

__all__ = [
    "AsyncClient",
    "BadPictureError",
    "Box",
    "Client",
    "ClientError",
    "DeadlineExceededError",
    "Detections",
    "InvalidParameterError",
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
