"""Finds the objects in every picture of a folder, several at a time, and prints a JSON line for each, in order.

python examples/detect_folder.py FOLDER [--url URL] [--at-once 16] > found.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

from azaion_client import AsyncClient, RequestFailedError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


async def look(client: AsyncClient, path: Path) -> dict[str, Any]:
    """Returns one picture's boxes, or its error: an unusable picture must not stop the run."""
    try:
        found = await client.detect(path)
    except RequestFailedError as error:
        return {"file": path.name, "error": error.code}
    return {"file": path.name, "boxes": [asdict(box) for box in found]}


async def look_at_all(folder: Path, url: str, at_once: int) -> None:
    """Prints the lines; keeps `at_once` requests in flight, so that the service can fill its batches."""
    running: deque[asyncio.Task[dict[str, Any]]] = deque()
    async with AsyncClient(url) as client:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in SUFFIXES:
                continue
            running.append(asyncio.create_task(look(client, path)))
            if len(running) >= at_once:
                print(json.dumps(await running.popleft()), flush=True)
        while running:
            print(json.dumps(await running.popleft()), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--at-once", type=int, default=16, help="twice the model card's batch_size is plenty")
    options = parser.parse_args()
    asyncio.run(look_at_all(options.folder, options.url, options.at_once))


if __name__ == "__main__":
    main()
