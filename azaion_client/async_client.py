"""AsyncClient: `Client` for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import httpx

from azaion_client import conversation
from azaion_client.client import Classes
from azaion_client.conversation import Terms
from azaion_client.errors import RequestFailedError
from azaion_client.picture import Picture, read_picture
from azaion_client.results import Detections, ModelCard
from azaion_client.retry import RetryPolicy
from azaion_client.steps import Conversation, Pause, Read, Result, Step
from azaion_client.transport import client_options, request_arguments


class AsyncClient:
    """`Client` for asyncio: the same methods as coroutines; tasks may share one.

    Close it, or use it as an asynchronous context manager.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        timeout_s: float = 60.0,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> None:
        """Takes the arguments of `Client`."""
        self._terms = Terms(timeout_s, retry or RetryPolicy())
        self._http = httpx.AsyncClient(**client_options(base_url, headers, key))

    async def detect(
        self,
        picture: Picture,
        *,
        confidence: float | None = None,
        classes: Classes | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        tiles: str | int | None = None,
        request_id: str | None = None,
    ) -> Detections:
        """Finds the objects in one picture: see `Client.detect`."""
        return await self._hold(
            conversation.detect(
                self._terms, picture, conversation.question(confidence, classes, iou, max_detections, tiles), request_id
            )
        )

    async def detect_many(
        self,
        pictures: Iterable[Picture],
        *,
        confidence: float | None = None,
        classes: Classes | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        tiles: str | int | None = None,
        request_id: str | None = None,
    ) -> list[Detections | RequestFailedError]:
        """Finds the objects in each of several pictures: see `Client.detect_many`."""
        return await self._hold(
            conversation.detect_many(
                self._terms,
                pictures,
                conversation.question(confidence, classes, iou, max_detections, tiles),
                request_id,
            )
        )

    async def draw(
        self,
        picture: Picture,
        *,
        confidence: float | None = None,
        classes: Classes | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        tiles: str | int | None = None,
        request_id: str | None = None,
    ) -> bytes:
        """Returns the picture with its boxes drawn, JPEG bytes: see `Client.draw`."""
        return await self._hold(
            conversation.draw(
                self._terms, picture, conversation.question(confidence, classes, iou, max_detections, tiles), request_id
            )
        )

    async def model(self) -> ModelCard:
        """Returns the model's card: see `Client.model`."""
        return await self._hold(conversation.model(self._terms))

    async def ready(self) -> bool:
        """Returns whether the service is ready: see `Client.ready`."""
        return await self._hold(conversation.ready())

    async def wait_until_ready(self, timeout_s: float = 120.0) -> None:
        """Waits until the service is ready: see `Client.wait_until_ready`."""
        await self._hold(conversation.wait_until_ready(timeout_s))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _hold(self, talk: Conversation[Result]) -> Result:
        try:
            step = next(talk)
            while True:
                step = talk.send(await self._take(step))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _take(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Read):
            return await asyncio.to_thread(read_picture, step.picture)  # reading blocks, e.g. on a network drive
        try:
            return await self._http.request(**request_arguments(step))
        except httpx.RequestError as error:
            return error
