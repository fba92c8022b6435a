"""Surfaces: JPEGs whose pixels stay on the GPU from batch to batch, for the tiles that are cut from them."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from azaion_engine.cuda.context import CudaContext
from azaion_engine.errors import ExecutionError
from azaion_engine.pictures.gpu.decode_queue import DecodeQueue
from azaion_engine.pictures.gpu.jpeg_decoder import DecodedPicture, JpegDecoder, bytes_of
from azaion_engine.pictures.gpu.letterbox_kernel import Window, pack_record
from azaion_engine.pictures.prepared import HeldPicture, JpegPicture, TilePicture, stored_size

logger = logging.getLogger(__name__)

MOST_BYTES = 3 * 2**30
"""Maximum size of all surfaces: twenty pictures of 8000×6000 pixels, of which eight replicas cut two each at a time."""

SHARE = 8
"""Part of the GPU's memory that they may take at most: one in this number."""

MOST_PICTURES = 64
"""Maximum number of surfaces: four times that of eight replicas."""

_KEPT_BYTES = 512 * 2**20
"""Memory without a picture that is kept for the next ones: three of 8000×6000 pixels. Allocating takes milliseconds."""


@dataclass(eq=False)
class Surface:
    """One picture on the GPU.

    Attributes:
        memory: PyCUDA's allocation.
        capacity: Its size in bytes.
        picture: What was decoded, without its bytes.
        stored: Where its pixels lie, as stored.
        users: Batches' tiles that read it now.
        released: Whether no further tile may read it.
    """

    memory: Any
    capacity: int
    picture: JpegPicture
    stored: DecodedPicture
    users: int = 0
    released: bool = False

    def source_of(self, picture: TilePicture) -> tuple[int, bytes]:
        """Returns the address of the first stored pixel, and the packed `RECORD` of a tile.

        Raises:
            ExecutionError: The tile is not within the picture.
        """
        tile, box = picture.tile, self.picture.letterbox
        window = Window(tile.x, tile.y, box.picture_width, box.picture_height)
        inside = tile.x + tile.width <= window.picture_width and tile.y + tile.height <= window.picture_height
        if min(tile.x, tile.y) < 0 or not inside:
            raise ExecutionError(f"{tile} is not within its picture of {box.picture_width}×{box.picture_height} pixels")
        pitch = 3 * self.stored.width
        return self.stored.address, pack_record(pitch, self.picture.orientation, picture.letterbox, window)


class Surfaces:
    """Holds JPEGs decoded into memory of their own until they are released; thread-safe.

    Cannot deadlock: a picture that finds no room is refused at once, and never waits while it holds tiles.
    """

    def __init__(
        self, context: CudaContext, open_decoder: Callable[[], JpegDecoder], most_bytes: int = MOST_BYTES
    ) -> None:
        """Allocates nothing yet.

        Args:
            context: The CUDA context; no method but `free` needs it current.
            open_decoder: As of `DecodeQueue`.
            most_bytes: Maximum size of all surfaces, in bytes.
        """
        self._context = context
        self._decoding = DecodeQueue(context, open_decoder)
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._held: dict[int, Surface] = {}
        self._free: list[tuple[Any, int]] = []
        self._bytes = 0
        self._closed = False

    def hold(self, picture: JpegPicture) -> HeldPicture | None:
        """Decodes a picture and waits for its pixels.

        Returns:
            The picture; None if there is no room for it, if it cannot be decoded here, or if its scan is not surely
            whole.

        Raises:
            pycuda.driver.Error: The GPU is lost.
        """
        with self._context.active():
            room = self._reserve(bytes_of(stored_size(picture)))
            if room is None:
                return None
            stored = None
            try:
                stored = self._decoding.decode(picture, room[0])
            finally:
                if stored is None:
                    self._give_back(*room)
        if stored is None:
            return None
        # By chance: another host, started after this one is lost, must not take it for its own.
        number = secrets.randbits(63)
        with self._lock:
            self._held[number] = Surface(*room, replace(picture, jpeg=b""), stored)
        return HeldPicture(number, partial(self._release, number))

    def use(self, picture: TilePicture) -> Surface:
        """Returns the surface of a tile, which keeps its pixels until `done`.

        Raises:
            ExecutionError: The picture is not held.
        """
        with self._lock:
            surface = self._held.get(picture.tile.number)
            if surface is None:
                raise ExecutionError("the picture of this tile is not held any more")
            surface.users += 1
            return surface

    def done(self, surface: Surface) -> None:
        """Tells that the GPU has read a tile."""
        with self._lock:
            surface.users -= 1
            is_last = surface.released and not surface.users
        if is_last:
            with self._context.active():
                self._give_back(surface.memory, surface.capacity)

    def free(self) -> None:
        """Frees everything, with the context current; no batch may run any more. A second call does nothing."""
        with self._lock:
            self._closed = True
            held, self._held = list(self._held.values()), {}
            free, self._free = self._free, []
        for memory, _ in [*free, *((surface.memory, 0) for surface in held if not surface.users)]:
            memory.free()
        self._decoding.free()

    def _reserve(self, size: int) -> tuple[Any, int] | None:
        """Returns memory of at least so many bytes, and its size; None if there is no room."""
        dropped = []
        with self._lock:
            if self._closed or len(self._held) >= MOST_PICTURES:
                return None
            fits = [one for one in self._free if size <= one[1] <= 2 * size]
            if fits:
                best = min(fits, key=lambda one: one[1])
                self._free.remove(best)
                return best
            while self._free and self._bytes + size > self._most_bytes:
                dropped.append(self._free.pop(0))
                self._bytes -= dropped[-1][1]
            has_room = self._bytes + size <= self._most_bytes
            self._bytes += size * has_room
        for memory, _ in dropped:
            memory.free()
        if not has_room:
            logger.debug("no room for the %d bytes of a picture in tiles: the CPU decodes it", size)
            return None
        try:
            return self._context.driver.mem_alloc(size), size
        except self._context.driver.MemoryError as error:
            logger.warning("the GPU has no room for a picture in tiles, %d bytes: %s", size, error)
            with self._lock:
                self._bytes -= size
            return None

    def _give_back(self, memory: Any, capacity: int) -> None:
        with self._lock:
            if not self._closed and sum(size for _, size in self._free) + capacity <= _KEPT_BYTES:
                self._free.append((memory, capacity))
                return
            self._bytes -= capacity
        memory.free()

    def _release(self, number: int) -> None:
        with self._lock:
            surface = self._held.pop(number, None)
            if surface is None:
                return
            surface.released = True
            is_last = not surface.users
        if is_last:
            with self._context.active():
                self._give_back(surface.memory, surface.capacity)


def room_for(total_bytes: int) -> int:
    """Returns `most_bytes` for a GPU of so much memory."""
    return min(MOST_BYTES, total_bytes // SHARE)
