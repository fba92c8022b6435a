"""Heap: freed memory goes back if it is asked to, and is kept if it is asked to."""

from __future__ import annotations

import subprocess
import sys

_FREED = """
import numpy as np
from pathlib import Path
from azaion_engine.system.heap import trim_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [np.ones(100_000, np.uint8) for _ in range(1000)]  # below glibc's threshold for memory of their own
kept = np.ones(100_000, np.uint8)  # above them, so that the heap cannot shrink
full = resident()
del blocks
free = resident()
trim_heap()
print(full - free, free - resident())
"""


def test_free_pages_go_back_to_the_operating_system() -> None:
    ended = subprocess.run([sys.executable, "-c", _FREED], capture_output=True, text=True, check=True, timeout=60)
    by_itself, trimmed = map(int, ended.stdout.split())
    assert by_itself + trimmed > 90_000_000
    assert trimmed > 50_000_000


_KEPT = """
import sys
import numpy as np
from pathlib import Path
from azaion_engine.system.heap import keep_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "keep":
    keep_heap()
resident()  # what the first call leaves behind must not lie above the blocks
blocks = [np.ones(100_000, np.uint8) for _ in range(300)]  # below glibc's threshold for memory of their own
full = resident()
del blocks
print(full - resident())
"""


def test_a_heap_that_is_to_keep_its_pages_does() -> None:
    gone = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", _KEPT, how], capture_output=True, text=True, check=True, timeout=60
            ).stdout
        )
        for how in ("keep", "give")
    }
    assert gone["give"] > 20_000_000
    assert gone["keep"] < 5_000_000
