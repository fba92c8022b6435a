"""Dataset: renders many scenes on all cores into one block of memory."""

from __future__ import annotations

import mmap
import multiprocessing
import time
from typing import NamedTuple

import cv2
import numpy as np

from demo.scenes.scene import render_scene

BOX_SLOTS = 640
"""Box rows per scene; unused rows have class -1."""

SPARE_SEED = 50_000_000
"""Added to a seed whose scene fails; gives the seed of its replacement."""

_pictures: np.ndarray
_boxes: np.ndarray


class Scenes(NamedTuple):
    """Rendered scenes.

    Attributes:
        pictures: uint8 [N,H,W,3] RGB.
        boxes: float32 [N,640,5], x1,y1,x2,y2,class in pixels, class -1 pads.
    """

    pictures: np.ndarray
    boxes: np.ndarray

    def truth(self, index: int) -> np.ndarray:
        """Return the float32 [n,5] boxes of one scene, without padding."""
        rows = self.boxes[index]
        return rows[rows[:, 4] >= 0]


def _shared(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Allocate an array that forked workers can write to.

    It is an anonymous mapping, because /dev/shm is often tiny in containers.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, size), dtype=dtype).reshape(shape)


def _render(job: tuple[int, int]) -> int:
    """Render the scene of (slot, seed) into its slot; return the slot."""
    slot, seed = job
    height, width = _pictures.shape[1:3]
    try:
        scene = render_scene(seed, width, height)
    except (ValueError, cv2.error) as error:
        # One failed scene must not end a training run.
        print(f"scene {seed} failed: {error}", flush=True)
        scene = render_scene(seed + SPARE_SEED, width, height)
    rows = scene.boxes[:BOX_SLOTS]
    _pictures[slot] = scene.picture
    _boxes[slot, :, 4] = -1
    _boxes[slot, : len(rows)] = rows
    return slot


def _initialise() -> None:
    """Limit OpenCV to one thread in each worker."""
    cv2.setNumThreads(0)


def render_scenes(first_seed: int, count: int, size: int, workers: int, limit_seconds: float = 1e9) -> Scenes:
    """Render scenes in parallel.

    Must be called before CUDA is initialised: the workers are forked.

    Args:
        first_seed: seed of the first scene; each further one has the next seed.
        count: number of scenes wanted.
        size: side of the pictures, pixels.
        workers: number of processes.
        limit_seconds: stop after this time and keep the finished scenes.

    Returns:
        At most `count` scenes, without gaps in their seeds.
    """
    global _pictures, _boxes
    _pictures = _shared((count, size, size, 3), np.uint8)
    _boxes = _shared((count, BOX_SLOTS, 5), np.float32)
    start = time.monotonic()
    jobs = [(slot, first_seed + slot) for slot in range(count)]
    finished: list[int] = []
    if workers <= 1:
        for job in jobs:
            finished.append(_render(job))
            if time.monotonic() - start > limit_seconds:
                break
    else:
        context = multiprocessing.get_context("fork")
        with context.Pool(workers, _initialise) as pool:
            for slot in pool.imap_unordered(_render, jobs, chunksize=4):
                finished.append(slot)
                if time.monotonic() - start > limit_seconds:
                    break
    if len(finished) == count:
        return Scenes(_pictures, _boxes)
    # Slots fill almost in order: keep those before the first gap, without copying.
    done = set(finished)
    whole = next(slot for slot in range(count) if slot not in done)
    return Scenes(_pictures[:whole], _boxes[:whole])
