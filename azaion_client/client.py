"""Client and AsyncClient: a pool of connections to one service, and a method for each request."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

import httpx

from azaion_client import conversation
from azaion_client.conversation import Conversation, Pause, Read, Send, Terms
from azaion_client.errors import RequestFailedError
from azaion_client.picture import Picture, read_picture
from azaion_client.results import Detections, ModelCard
from azaion_client.retry import RetryPolicy

Result = TypeVar("Result")
Classes = Collection[int | str]

CONNECT_TIMEOUT_S = 5.0
KEY_HEADER = "X-API-Key"
KEY_VARIABLE = "AZAION_KEY"
CONNECTIONS = 100
"""Maximum number of connections, all kept alive; httpx's default is 100, of which it keeps 20."""


class Client:
    """Synchronous client of a service; threads may share one.

    Close it, or use it as a context manager.
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
        """Opens no connection yet.

        Args:
            base_url: The service's address with its route prefix, e.g. `http://host:8000/app-1`.
            timeout_s: Timeout of one request with all retries and waits, seconds. Within an attempt it limits each
                network operation, so an answer that arrives slowly may take longer.
            retry: Retry policy for 408, 429, 503, broken connections and a service that is away.
            headers: Sent with every request, e.g. the authorization that a reverse proxy requires.
            key: The service's key, sent as `X-API-Key`; default: the environment variable AZAION_KEY, if it is set.
        """
        self._terms = Terms(timeout_s, retry or RetryPolicy())
        self._http = httpx.Client(**_options(base_url, headers, key))

    def detect(
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
        """Finds the objects in one picture.

        Args:
            picture: JPEG, PNG, WebP, BMP, TIFF, AVIF, HEIC or JPEG XL as bytes, path, or file opened in binary mode.
            confidence: Threshold 0…1; default: the service's own.
            classes: Class ids or names to keep; default: all.
            iou: Of two boxes of a class that overlap by more, 0…1, the better stays; default: the model's.
            max_detections: Maximum number of boxes; default: the service's.
            tiles: How a large picture is cut: `auto`, the size of a tile in pixels, or `off`; default: the service's.
            request_id: Sent as X-Request-ID.

        Raises:
            BadPictureError: The picture cannot be used.
            InvalidParameterError: Bad confidence or class.
            UnavailableError: 429 or 503 at every attempt; OverloadedError if the queue is full, LimitError if the key
                is at one of its limits, for longer than the retry policy waits.
            AccessError: The service wants a key: there is none, or it is unknown, switched off or expired.
            DeadlineExceededError: The service's own timeout expired.
            RequestFailedError: Any other error status; base class of those above.
            UnreachableError: No answer.
            UnexpectedAnswerError: Another server answered.
            OSError: The picture's file cannot be read.
        """
        return self._hold(
            conversation.detect(
                self._terms, picture, conversation.question(confidence, classes, iou, max_detections, tiles), request_id
            )
        )

    def detect_many(
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
        """Finds the objects in each of several pictures; a request carries as many as the service accepts.

        A request's pictures are held in memory. Only those refused with 429 or 503 are sent again.

        Args:
            pictures: As for `detect`.
            confidence: Threshold 0…1; default: the service's own.
            classes: Class ids or names to keep; default: all.
            iou: Of two boxes of a class that overlap by more, 0…1, the better stays; default: the model's.
            max_detections: Maximum number of boxes; default: the service's.
            tiles: How a large picture is cut: `auto`, the size of a tile in pixels, or `off`; default: the service's.
            request_id: Sent as X-Request-ID with each request.

        Returns:
            One entry per picture, in order: its detections or its error.

        Raises:
            ClientError: As `detect`, if a whole request failed.
        """
        return self._hold(
            conversation.detect_many(
                self._terms,
                pictures,
                conversation.question(confidence, classes, iou, max_detections, tiles),
                request_id,
            )
        )

    def draw(
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
        """Returns the upright picture with its boxes drawn, JPEG bytes; arguments and errors are those of `detect`."""
        return self._hold(
            conversation.draw(
                self._terms, picture, conversation.question(confidence, classes, iou, max_detections, tiles), request_id
            )
        )

    def model(self) -> ModelCard:
        """Returns the model's card: classes, input size, limits; errors are those of `detect`."""
        return self._hold(conversation.model(self._terms))

    def ready(self) -> bool:
        """Returns whether the service is ready; False also if it cannot be reached."""
        return self._hold(conversation.ready())

    def wait_until_ready(self, timeout_s: float = 120.0) -> None:
        """Waits until the service is ready.

        A first start on a GPU builds an engine, which takes minutes.

        Raises:
            NotReadyError: Not ready within `timeout_s` seconds.
        """
        self._hold(conversation.wait_until_ready(timeout_s))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hold(self, talk: Conversation[Result]) -> Result:
        try:
            step = next(talk)
            while True:
                step = talk.send(self._take(step))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _take(self, step: conversation.Step) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if isinstance(step, Read):
            return read_picture(step.picture)
        try:
            return self._http.request(**_request(step))
        except httpx.RequestError as error:
            return error


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
        self._http = httpx.AsyncClient(**_options(base_url, headers, key))

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

    async def _take(self, step: conversation.Step) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Read):
            return await asyncio.to_thread(read_picture, step.picture)  # reading blocks, e.g. on a network drive
        try:
            return await self._http.request(**_request(step))
        except httpx.RequestError as error:
            return error


def _options(base_url: str, headers: Mapping[str, str] | None, key: str | None) -> dict[str, Any]:
    sent = httpx.Headers(headers)
    # Not Authorization: that may be a reverse proxy's. Stripped: a file or a shell may add the end of its line.
    if (key := (os.environ.get(KEY_VARIABLE, "") if key is None else key).strip()) and KEY_HEADER not in sent:
        sent[KEY_HEADER] = key
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    return {"base_url": base_url, "headers": sent, "limits": limits}


def _request(step: Send) -> dict[str, Any]:
    return {
        "method": step.method,
        "url": step.path,
        "params": step.params,
        "headers": step.headers,
        "content": step.content,
        "files": step.files,
        "timeout": httpx.Timeout(step.timeout_s, connect=min(step.timeout_s, CONNECT_TIMEOUT_S)),
    }
