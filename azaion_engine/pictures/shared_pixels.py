"""SharedPixels: the pixels of one picture, decoded once for several users."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from copy import copy

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import AzaionError
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.pictures.encoded import EncodedPicture


class SharedPixels:
    """Decodes a picture when its first user asks, and frees it after its last one; thread-safe.

    The memory of the decode stays taken until then, so users must not wait for other decodes before they are done.
    """

    def __init__(self, picture: EncodedPicture | NDArray[np.uint8], users: int, memory: DecodeMemory) -> None:
        """Decodes nothing yet.

        Args:
            picture: Encoded, or uint8 RGB `[height, width, 3]`.
            users: Number of calls of `done` after which the pixels are freed, at least 1.
            memory: Budget of all decodes.
        """
        self._picture: EncodedPicture | NDArray[np.uint8] | None = picture
        self._users = users
        self._memory = memory
        self._held = ExitStack()
        self._lock = threading.Lock()
        self._error: AzaionError | None = None

    def get(self, timeout_s: float | None = None) -> NDArray[np.uint8]:
        """Returns the upright pixels, uint8 `[height, width, 3]`; other users wait while the first one decodes.

        Args:
            timeout_s: Maximum time to wait for memory that other decodes hold, in seconds; None: as long as it takes.

        Raises:
            PictureError: The picture cannot be decoded, or is too large; every user gets this error.
            OutOfMemoryError: No memory was left, or other decodes held it for all that time; likewise.
        """
        with self._lock:
            if self._error is not None:
                raise copy(self._error)  # a copy has no traceback, whose frames would keep the picture alive
            if isinstance(self._picture, EncodedPicture):
                try:
                    self._picture = self._decode(self._picture, timeout_s)
                except AzaionError as error:
                    self._error = copy(error)
                    self._free()
                    raise
            assert self._picture is not None  # users that are not done keep it
            return self._picture

    def done(self) -> None:
        """Ends the use by one user; the last one frees the pixels."""
        with self._lock:
            self._users -= 1
            if self._users <= 0:
                self._free()

    def close(self) -> None:
        """Frees the pixels although users may be left; a second call does nothing."""
        with self._lock:
            self._free()

    def _decode(self, picture: EncodedPicture, timeout_s: float | None) -> NDArray[np.uint8]:
        self._held.enter_context(self._memory.hold(picture.decoding_bytes(), timeout_s, picture.forget))
        return picture.decode()

    def _free(self) -> None:
        self._picture = None
        self._held.close()
