"""Finds the objects in a video's frames and prints a JSON line for each, in order.

python examples/video.py VIDEO [--url URL] [--every 1] [--at-once 16] > found.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import cv2

from azaion_client import AsyncClient


def frames(video: str, every: int) -> Iterator[tuple[int, float, bytes]]:
    """Yields (number, seconds, JPEG bytes) of each `every`-th frame."""
    capture = cv2.VideoCapture(video)
    if not capture.isOpened():
        raise SystemExit(f"cannot open {video}")
    number = 0
    while True:
        if not capture.grab():
            return
        if number % every == 0:
            _, pixels = capture.retrieve()  # converts to pixels; skipped frames are not converted
            _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
            yield number, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, jpeg.tobytes()
        number += 1


async def look(client: AsyncClient, number: int, seconds: float, jpeg: bytes) -> dict[str, Any]:
    """Returns the boxes of one frame."""
    found = await client.detect(jpeg, request_id=f"frame-{number}")
    return {"frame": number, "seconds": round(seconds, 3), "boxes": [asdict(box) for box in found]}


async def look_at_all(video: str, url: str, every: int, at_once: int) -> None:
    """Prints the lines; keeps at most `at_once` requests in flight, which bounds memory."""
    running: deque[asyncio.Task[dict[str, Any]]] = deque()
    source = frames(video, every)
    async with AsyncClient(url) as client:
        while frame := await asyncio.to_thread(next, source, None):
            running.append(asyncio.create_task(look(client, *frame)))
            if len(running) >= at_once:
                print(json.dumps(await running.popleft()), flush=True)
        while running:
            print(json.dumps(await running.popleft()), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--every", type=int, default=1, help="1 takes all frames, 5 each fifth")
    parser.add_argument("--at-once", type=int, default=16)
    options = parser.parse_args()
    asyncio.run(look_at_all(options.video, options.url, options.every, options.at_once))


if __name__ == "__main__":
    main()
