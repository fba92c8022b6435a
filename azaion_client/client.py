"""Client: a pool of connections to one service, and a method for each request."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any

import httpx

from azaion_client import conversation
from azaion_client.conversation import Terms
from azaion_client.errors import RequestFailedError
from azaion_client.picture import Picture, read_picture
from azaion_client.results import Detections, ModelCard
from azaion_client.retry import RetryPolicy
from azaion_client.steps import Conversation, Pause, Read, Result, Step
from azaion_client.transport import client_options, request_arguments

Classes = Collection[int | str]


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
        self._http = httpx.Client(**client_options(base_url, headers, key))

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

    def _take(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if isinstance(step, Read):
            return read_picture(step.picture)
        try:
            return self._http.request(**request_arguments(step))
        except httpx.RequestError as error:
            return error
