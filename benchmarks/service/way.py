"""Way: prints the files of this project that a picture passes from its HTTP request to its boxes.

    python -m benchmarks.service.way

Posts a sample to the ASGI application in this process, with the demo model on ONNX Runtime, and notes on every thread
each call that hands the picture, in any of its forms, to a function of another file. A return is such a call from one
file into another that the picture has been in before.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import httpx
import ray
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.model.file import sample_picture
from deployments.deployment import DetectorDeployment
from deployments.frontends.asgi import create_api
from deployments.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = tuple(f"{ROOT / name}{os.sep}" for name in ("azaion_engine", "deployments"))
FORMS = frozenset(
    (
        *("EncodedPicture", "Job", "Batch", "PreparedBatch", "ArrayPicture", "PixelPicture", "JpegPicture"),
        *("Request", "ndarray", "Detections", "Answer"),
    )
)
"""Classes that carry a picture or what was found in it, besides `bytes`."""
LEAST_BYTES = 1000
"""Size from which on `bytes` count as a picture."""


class Way:
    """Notes calls that carry the picture while it is open."""

    def __init__(self) -> None:
        self.open = False
        self.calls: list[tuple[str, str, str]] = []
        self._frames: dict[int, FrameType] = {}  # kept, so that no number is used twice

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """Notes a call; a coroutine that goes on is none."""
        code = frame.f_code
        if not self.open or event != "call" or not code.co_filename.startswith(PACKAGES) or id(frame) in self._frames:
            return
        self._frames[id(frame)] = frame
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = [frame.f_locals[name] for name in names if name in frame.f_locals]
        if not any(map(_carries, given)) and not (code.co_name == "__call__" and "scope" in names):
            return
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(PACKAGES):
            caller = caller.f_back
        called_by = _name(caller.f_code.co_filename) if caller else ""
        if called_by != (file := _name(code.co_filename)):
            self.calls.append((file, code.co_name, called_by))


def _carries(value: Any, depth: int = 0) -> bool:
    if type(value).__name__ in FORMS or (isinstance(value, bytes) and len(value) >= LEAST_BYTES):
        return True
    return depth == 0 and isinstance(value, (list, tuple)) and any(_carries(one, 1) for one in value)


def _name(file: str) -> str:
    return str(Path(file).relative_to(ROOT))


async def post(way: Way, replica: Any, times: int = 3) -> None:
    """Posts the sample a few times, and notes the last."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_api()), base_url="http://way") as client:
        for number in range(times):
            way.open = number == times - 1
            sys.setprofile(way.profile if way.open else None)
            response = await client.post("/detect", content=sample_picture())
            response.raise_for_status()
        sys.setprofile(None)
        way.open = False


def main() -> None:
    """Command line."""
    ray.init(num_cpus=1, num_gpus=0, include_dashboard=False, log_to_driver=False)
    context = SimpleNamespace(
        app_name="app",
        deployment="DetectorDeployment",
        replica_id=SimpleNamespace(unique_id="way"),
        _deployment_config=SimpleNamespace(max_ongoing_requests=100),
    )
    serve.get_replica_context = lambda: context  # this process is the replica
    way = Way()
    threading.setprofile(way.profile)
    shell = next(c for c in DetectorDeployment.func_or_class.__mro__[::-1] if c.__name__ == "DetectorDeployment")
    context.servable_object = replica = shell(ServiceSettings(engine="onnx", num_gpus=0), 1, Detector.open)
    asyncio.run(post(way, replica))
    files = list(dict.fromkeys(file for file, _, _ in way.calls))
    visited: set[str] = set()
    returns = []
    for file, function, caller in way.calls:
        if file in visited and caller:
            returns.append(f"{file}: {function}, from {caller}")
        visited.add(file)
    print(f"{len(files)} files:", *files, sep="\n  ")
    service = [one for one in returns if one.startswith("deployments")]
    print(f"{len(returns)} returns, {len(service)} of them in the service:", *service, sep="\n  ")
    sys.stdout.flush()
    os._exit(0)  # Ray and the replica's threads need no farewell


if __name__ == "__main__":
    main()
