"""available_cores: how many CPU cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""CPU quota and period of the process's cgroup v2, in microseconds (kernel's cgroup-v2.rst)."""


def available_cores(cpu_max: Path = _CPU_MAX) -> int:
    """Returns the number of usable cores, at least 1: the CPU affinity, limited by the container's CPU quota.

    Args:
        cpu_max: The cgroup's file with quota and period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such cgroup, or the quota is "max": unlimited
        return max(1, cores)
