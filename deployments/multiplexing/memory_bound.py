"""MemoryBound: what limits the memory that loaded models take together: nothing, or the GPU's."""

from __future__ import annotations

import logging
from typing import Protocol

from azaion_engine.cuda.gpu import Gpu
from azaion_engine.errors import AzaionError

logger = logging.getLogger("ray.serve")


class MemoryBound(Protocol):
    """Memory that models take together."""

    def excess(self, more: int = 0) -> int:
        """Returns the bytes in use beyond the bound if there were `more`; 0 or less if they fit. May block."""
        ...


class NoBound:
    """Memory that is not bounded; the number of models is."""

    def excess(self, more: int = 0) -> int:
        """Returns 0."""
        return 0


class GpuMemory:
    """Bounds what all processes use of the GPU: a model does not fit where another process has taken the memory."""

    def __init__(self, gpu: Gpu, part: float) -> None:
        """Reads nothing yet.

        Args:
            gpu: The GPU.
            part: Part of its memory that may be in use, 0…1.
        """
        self._gpu = gpu
        self._limit = int(part * gpu.memory_bytes)
        self._told = False

    def excess(self, more: int = 0) -> int:
        """Returns the bytes in use beyond the bound if there were `more`; 0 if NVML does not tell them.

        NVML tells no memory of a slice of a GPU; the number of models is the only bound there.
        """
        try:
            used = self._gpu.usage().memory_used_bytes
        except AzaionError as error:
            used = None
            if not self._told:
                logger.warning("the memory of the GPU is not watched, only the number of models: %s", error)
                self._told = True
        return 0 if used is None else used + more - self._limit
