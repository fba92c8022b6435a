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
import ctypes
import sys
from azaion_engine.system.heap import keep_heap

def resident():
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * 4096

if sys.argv[1] == "keep":
    keep_heap()
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
# Nothing of Python's may come to lie above the blocks, so it allocates none of them itself.
blocks = (ctypes.c_void_p * 300)()
resident()
for index in range(300):
    blocks[index] = c.malloc(100_000)  # below glibc's threshold for memory of their own
    ctypes.memset(blocks[index], 1, 100_000)
full = resident()
for index in range(299, -1, -1):
    c.free(ctypes.c_void_p(blocks[index]))
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
