"""Fuzzing of requests: `python -m tests.hostile.fuzz_requests` sends mutated pictures and bodies through the service.

To `/detect` and both models of `/v2`, through the ASGI application without Ray. Prints how often each status came; only
503 of those from 500 on may.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import sys
import time
import warnings
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from tests.deployments.in_process import client, replica
from tests.hostile.mutations import mutate
from tests.hostile.seeds import seeds
from tests.stand_in import StandInEngine


class _Harmless(StandInEngine):
    """A stand-in that finds nothing, and has no values at which it fails."""

    def _run_batch(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        return [np.zeros((len(rows), 300, 6), np.float32)]


_PIECES = (b"", b"[", b"]", b'"', b",", b"{", b"}", b"-", b"1e999", b"NaN", b"null", b"\\", b"\xff", b"9" * 30)


def fuzz_requests(seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Sends mutated requests; returns how many there were of each kind and status, and what was answered wrongly."""
    return asyncio.run(_fuzz(random.Random(seed), count))


async def _fuzz(chance: random.Random, count: int) -> tuple[Counter[str], list[str]]:
    pictures = list(seeds().values())
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    with replica(lambda settings: Detector(_Harmless(), model_name="stand-in")):
        async with client() as asked:
            for _ in range(count):
                kind, path, body, headers = _request(chance, pictures)
                answer = await asked.post(path, content=body, headers=headers)
                outcomes[f"{kind} {answer.status_code}"] += 1
                if fault := _fault(answer.status_code, answer.text):
                    faults.append(f"{kind}: {fault}; the body began with {body[:100]!r}")
    return outcomes, faults


def _request(chance: random.Random, pictures: list[bytes]) -> tuple[str, str, bytes, dict[str, str]]:
    picture = mutate(chance.choice(pictures), chance.choice(pictures), chance)
    kind = chance.choice(("detect", "picture in JSON", "picture in binary", "numbers"))
    if kind == "detect":
        return kind, "/detect", picture, {}
    if kind == "numbers":
        message = _message("images", "FP32", [1, 3, 32, 32], data=np.full(3072, 0.5).tolist())
        return kind, "/v2/models/stand-in_raw/infer", _mutated_text(message, chance), {}
    if kind == "picture in JSON":
        text = base64.b64encode(picture).decode()
        message = _message("picture", "BYTES", [1], data=[text], parameters={"content_type": "base64"})
        body = message if chance.random() < 0.5 else _mutated_text(message, chance)
        return kind, "/v2/models/stand-in/infer", body, {}
    packed = len(picture).to_bytes(4, "little") + picture
    message = _message("picture", "BYTES", [1], parameters={"binary_data_size": len(packed)})
    header = {"Inference-Header-Content-Length": str(len(message))}
    body = message + packed if chance.random() < 0.5 else _mutated_text(message, chance) + packed
    return kind, "/v2/models/stand-in/infer", body, header


def _message(name: str, datatype: str, shape: list[int], **more: Any) -> bytes:
    return json.dumps({"inputs": [{"name": name, "datatype": datatype, "shape": shape, **more}]}).encode()


def _mutated_text(text: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(text))
    piece = chance.choice(_PIECES)
    return text[:at] + piece + text[at + chance.choice((0, 1, 5)) :]


def _fault(status: int, text: str) -> str:
    if status >= 500 and status != 503:
        return f"{status} {text[:200]}"
    if status != 200 and len(text) > 2500:
        return f"an error of {len(text)} characters"
    return ""


def main() -> int:
    """Runs the command; returns 1 if anything was answered wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=19)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.monotonic()
    outcomes, faults = fuzz_requests(options.seed, options.count)
    print(f"{outcomes.total()} mutated requests in {time.monotonic() - started:.0f} s (seed {options.seed}):")
    for outcome, number in sorted(outcomes.items()):
        print(f"  {outcome}: {number}")
    print("\n".join(f"FAULT {fault}" for fault in faults) + f"\nfaults: {len(faults)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
