"""Detecting in tiles: many pictures → the pieces of all → boxes of each picture, as a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from typing import TypeVar

from azaion_engine.errors import PictureError
from azaion_engine.pipeline import in_order
from azaion_engine.results.detections import Detections
from azaion_engine.tiling.tiled_picture import Piece, TiledPicture

Given = TypeVar("Given")
Found = Detections | PictureError

_AHEAD = 4
"""Pictures that are opened before their pieces are wanted; they are still encoded, or on the GPU."""

_OPENERS = 4
"""Threads that open pictures: a GPU decodes those together that wait, each on one engine of its JPEG hardware, which
takes longer for a picture than the network for its tiles."""


_WAITING = 64
"""Results that wait for one that is still merged, at most."""


def detect_tiled(
    pictures: Iterable[Given],
    load: Callable[[Given], TiledPicture],
    detect_pieces: Callable[[Iterator[Piece]], Generator[Found]],
) -> Iterator[Found]:
    """Yields what was found in each picture, in their order; the pieces of several pictures share batches.

    Args:
        pictures: Consumed as needed.
        load: Opens one picture, in a thread; a PictureError that it raises is that picture's result.
        detect_pieces: Yields what was found in each piece, in their order; holds only a few batches in memory.

    Raises:
        Exception: Raised by `load` or `detect_pieces`, except PictureError.
    """
    opened: deque[TiledPicture | PictureError] = deque()  # not answered yet

    def attempt(given: Given) -> TiledPicture | PictureError:
        try:
            picture = load(given)
            picture.hold()
            return picture
        except PictureError as error:
            return copy(error)

    def pieces() -> Iterator[Piece]:
        with ThreadPoolExecutor(_OPENERS, "open") as opening:
            for picture in in_order(lambda: opening, attempt, pictures, lambda: _AHEAD):
                opened.append(picture)
                if isinstance(picture, TiledPicture):
                    for piece in picture.pieces:
                        asked.append(piece)
                        yield piece

    asked: deque[Piece] = deque()
    answers: deque[Future[Found] | Found] = deque()

    def ready(most_waiting: int = _WAITING) -> Iterator[Found]:
        while answers:
            answer = answers[0]
            if isinstance(answer, Future):
                if len(answers) <= most_waiting and not answer.done():
                    return
                answer = answer.result()
            answers.popleft()
            yield answer

    results = detect_pieces(pieces())
    # In a thread, because merging takes milliseconds, in which this one has to hand over the next pieces.
    with ThreadPoolExecutor(1, "merge") as merging:
        try:
            for found in results:
                answers += _failed(opened)
                piece = asked.popleft()
                if piece.whole.answer(piece, found):
                    opened.popleft()
                    piece.whole.close()
                    answers.append(merging.submit(piece.whole.result) if piece.whole.cut else piece.whole.result())
                yield from ready()
            answers += _failed(opened)
            yield from ready(0)
        finally:
            results.close()  # ends its threads, which may be preparing pieces
            for picture in opened:
                if isinstance(picture, TiledPicture):
                    picture.close()


def _failed(opened: deque[TiledPicture | PictureError]) -> Iterator[PictureError]:
    """Yields the errors of the next pictures, which have no pieces."""
    while opened and isinstance(opened[0], PictureError):
        failed = opened.popleft()
        if isinstance(failed, PictureError):
            yield failed
