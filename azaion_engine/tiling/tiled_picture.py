"""TiledPicture: one picture as the pieces that the network sees, and the boxes that were found in them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import PictureError, TooManyBoxesError
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.prepared import HeldPicture, HeldTile
from azaion_engine.pictures.shared_pixels import SharedPixels
from azaion_engine.results.detections import Detections
from azaion_engine.settings import Tiles
from azaion_engine.tiling.merging import merge
from azaion_engine.tiling.settings import plan_tiles
from azaion_engine.tiling.tile import Tile

Prepared = TypeVar("Prepared")
Pixels = NDArray[np.uint8]


class TiledPicture:
    """A picture whose pieces are prepared by several threads; it is decoded once.

    The engine decodes it and cuts the tiles, if it can; else the CPU decodes it, and the tiles are views.

    Attributes:
        pieces: What is to be prepared and run: the tiles, or the picture itself if it is not cut.
    """

    def __init__(
        self,
        picture: EncodedPicture | Pixels,
        tiles: Tiles,
        network: tuple[int, int],
        memory: DecodeMemory,
        hold: Callable[[EncodedPicture], HeldPicture | None] | None = None,
    ) -> None:
        """Reads the header; decodes nothing yet.

        Args:
            picture: Encoded, or uint8 RGB `[height, width, 3]`.
            tiles: How it is cut if it is large.
            network: (height, width) of the network input, in pixels.
            memory: Budget of all decodes.
            hold: Lets the engine decode a picture; returns None for one that the CPU is to decode.

        Raises:
            PictureError: The picture is too large or takes too many tiles, or it is none.
        """
        self._settings = tiles
        self._height, self._width = size_of(picture)
        planned = plan_tiles(self._height, self._width, network, tiles)
        self._pixels = SharedPixels(picture, len(planned), memory) if planned else None
        self._hold = hold if planned and isinstance(picture, EncodedPicture) else None
        self._picture = picture
        self._held: HeldPicture | None = None
        self._lock = threading.Lock()
        self._found: list[tuple[Tile | None, Detections]] = []
        self._error: PictureError | None = None
        self._answered = 0
        self.pieces = [Piece(self, picture, tile) for tile in planned] or [Piece(self, picture, None)]

    @property
    def cut(self) -> bool:
        """Whether it is cut into tiles."""
        return self._pixels is not None

    @property
    def held(self) -> bool:
        """Whether the engine holds it: its pieces are then prepared in microseconds."""
        return self._held is not None

    def hold(self) -> None:
        """Lets the engine decode the picture, if it is cut and the engine can; to be called before it is prepared.

        Raises:
            PictureError: The picture cannot be read.
            AzaionError: The engine is lost or closed.
        """
        with self._lock:  # `close` waits
            hold, self._hold = self._hold, None
            if hold is not None and isinstance(self._picture, EncodedPicture):
                self._held = hold(self._picture)

    def decode(self, timeout_s: float | None = None) -> None:
        """Decodes the picture, if it is cut; else its first piece would, while threads with others wait.

        Args:
            timeout_s: Maximum time to wait for memory that other decodes hold, in seconds; None: as long as it takes.

        Raises:
            PictureError: The picture cannot be decoded.
            OutOfMemoryError: Other decodes held the memory for all that time.
            AzaionError: The engine is lost or closed.
        """
        self.hold()
        if self._pixels is not None and self._held is None:
            self._pixels.get(timeout_s)

    def prepare(self, piece: Piece, prepare: Callable[[EncodedPicture | Pixels | HeldTile], Prepared]) -> Prepared:
        """Prepares one of the pieces.

        Args:
            piece: One of `pieces`; each is prepared once.
            prepare: Takes the piece: its pixels, the tile if the engine holds the picture, or the encoded picture if it
                is not cut.

        Raises:
            PictureError: The picture cannot be decoded.
        """
        if piece.tile is None or self._pixels is None:
            return prepare(piece.picture)
        if (held := self._held) is not None:
            tile = piece.tile
            return prepare(HeldTile(held.number, tile.x, tile.y, tile.width, tile.height))
        try:
            return prepare(piece.tile.of(self._pixels.get()))
        finally:
            self._pixels.done()

    def answer(self, piece: Piece, found: Detections | PictureError) -> bool:
        """Takes what was found in a piece; returns whether all have come."""
        self._answered += 1
        if isinstance(found, PictureError):
            self._error = self._error or found
        else:
            self._found.append((piece.tile, found))
        return self._answered == len(self.pieces)

    def result(self) -> Detections | PictureError:
        """Returns the boxes in pixels of the picture, or the first piece's or the merging's error; frees the pixels.

        Merging takes milliseconds; so does freeing, if the engine holds them.
        """
        self.close()
        if self._error is not None:
            return self._error
        parts = [(tile, found) for tile, found in self._found if tile is not None]
        if not parts:
            [(_, found)] = self._found
            return found
        try:
            return merge(parts, (self._height, self._width), self._settings)
        except TooManyBoxesError as error:
            return error

    def close(self) -> None:
        """Frees the pixels; a second call does nothing. The picture may still be decoding: then this waits."""
        with self._lock:
            self._hold = None
            held, self._held = self._held, None
        if held is not None:
            held.release()
        if self._pixels is not None:
            self._pixels.close()


@dataclass(frozen=True, eq=False)
class Piece:
    """One input of the network: a tile, or a picture that is not cut.

    Attributes:
        whole: The picture that it is of.
        picture: As the picture was given.
        tile: Where it is; None: the picture is not cut.
    """

    whole: TiledPicture
    picture: EncodedPicture | Pixels
    tile: Tile | None


def size_of(picture: EncodedPicture | Pixels) -> tuple[int, int]:
    """Returns (height, width) of the upright picture, (0, 0) for an array that is none; decodes nothing.

    Raises:
        PictureError: As `EncodedPicture.read_header`.
    """
    if isinstance(picture, EncodedPicture):
        header = picture.read_header()
        return header.height, header.width
    return (picture.shape[0], picture.shape[1]) if picture.ndim == 3 else (0, 0)
