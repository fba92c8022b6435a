"""Measuring: processor time and peak memory of a decode, as the operating system counts them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from azaion_engine.errors import AzaionError
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits

BUDGET = 512 * 2**20
"""Bytes for all decodes of a process: a host of 2 GiB gets as much by default."""
WITHOUT_PIXELS = 8 * 2**20
"""Bytes that a picture may take that is refused before its pixels are decoded, besides three copies of its bytes."""


class Cost(NamedTuple):
    """What one picture cost.

    Attributes:
        cpu_s: Processor time of the process, seconds.
        peak: Growth of the resident memory at its highest, bytes.
        allowed: Memory that the picture was charged with, or `WITHOUT_PIXELS` and copies of its bytes.
        outcome: Code of its error, or `picture`; an untyped error is named `untyped: …`.
        message: The error's message.
    """

    cpu_s: float
    peak: int
    allowed: int
    outcome: str
    message: str


def measure(data: bytes, budget: int = BUDGET) -> Cost:
    """Decodes a picture as a detector does, within a budget, and measures it in this process."""
    charged: list[int] = []
    _reset_peak()
    before, started = _status("VmRSS"), time.process_time()
    try:
        picture = EncodedPicture(data, PictureLimits())
        needed = picture.decoding_bytes()
        with DecodeMemory(budget).hold(needed, 0):
            charged.append(needed)
            pixels = picture.decode()
        outcome, message = "picture", str(pixels.shape)
    except AzaionError as error:
        outcome, message = error.code, str(error)
    except Exception as error:
        outcome, message = f"untyped: {type(error).__name__}", str(error)
    cpu_s = time.process_time() - started
    return Cost(
        cpu_s, _status("VmHWM") - before, max(charged, default=WITHOUT_PIXELS + 3 * len(data)), outcome, message
    )


def measure_in_child(data: bytes, folder: Path, limit_bytes: int | None = None) -> Cost:
    """Does the same in a new process.

    Args:
        data: The picture.
        folder: Where it is written for the child.
        limit_bytes: Address space that the child may take beyond what it has at the start; None: no limit.
    """
    path = folder / "picture"
    path.write_bytes(data)
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.hostile.measuring", str(path), str(limit_bytes or 0)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, f"the process ended with {ended.returncode}: {ended.stderr[-2000:]}"
    return Cost(*json.loads(ended.stdout))


def warm_up() -> None:
    """Loads what the first picture loads."""
    from tests.hostile.seeds import seeds

    for data in seeds().values():
        measure(data)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # kernel's proc.rst: resets VmHWM


def _status(key: str) -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measures the picture at the first argument, and prints its cost as JSON."""
    import resource

    data = Path(sys.argv[1]).read_bytes()
    warm_up()
    limit, (before, most) = int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_AS)
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + limit, most))
    cost = measure(data)
    resource.setrlimit(resource.RLIMIT_AS, (before, most))  # the end of the process is not what is measured
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
