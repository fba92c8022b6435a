"""available_memory: how many bytes of memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
"""Memory limit of the process's cgroup v2, in bytes (kernel's cgroup-v2.rst)."""


def available_memory(memory_max: Path = _MEMORY_MAX) -> int:
    """Returns the machine's memory in bytes, limited by the container's; what other processes use is not deducted.

    Args:
        memory_max: The cgroup's file with the limit.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(memory_max.read_text()))
    except (OSError, ValueError):  # no such cgroup, or the limit is "max"
        return machine
