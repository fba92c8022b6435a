"""ProcessorTime: the processor time that each process used during a load."""

from __future__ import annotations

import resource
from pathlib import Path

SHOWN_MS = 0.1
"""Processes below this processor time per picture, ms, are left out."""

CLOCKS_APART_S = 1.0
"""Error of a process's start time, seconds: psutil computes it from the boot time and clock ticks."""

ENGINE_HOST = "azaion_engine.engines.shared.host"


class ProcessorTime:
    """Adds up user and system time by process name, from its creation on."""

    def __init__(self, since: float) -> None:
        """Starts counting.

        Args:
            since: Seconds since the epoch; processes that started earlier do not belong to the measurement.
        """
        self._since = since - CLOCKS_APART_S
        self._before = _now(self._since)

    def per_picture(self, pictures: int) -> dict[str, float]:
        """Returns milliseconds of processor time per picture by process name, largest first.

        Of processes that have ended, only children of this process are counted, as `children that ended`. That is the
        load generator.
        """
        after = _now(self._since)
        spent: dict[str, float] = {}
        for key, (name, seconds) in after.items():
            spent[name] = spent.get(name, 0.0) + seconds - self._before.get(key, (name, 0.0))[1]
        ordered = sorted(spent.items(), key=lambda item: -item[1])
        per_picture = {name: round(seconds * 1000 / max(pictures, 1), 1) for name, seconds in ordered}
        return {name: ms for name, ms in per_picture.items() if ms >= SHOWN_MS}


def process_name(command: list[str]) -> str:
    """Returns a name for a process: its title if Ray set one, else its Python module or script, else its program."""
    if not command:
        return "kernel"
    program = Path(command[0].split()[0]).name
    if command[0].startswith("ray::"):
        return command[0].split("()")[0]
    if program.startswith("python"):
        arguments = command[1:]
        if ENGINE_HOST in " ".join(arguments):
            return ENGINE_HOST
        if "-m" in arguments[:-1]:
            return arguments[arguments.index("-m") + 1]
        scripts = [Path(argument).name for argument in arguments if not argument.startswith("-")]
        return scripts[0][:60] if scripts else program
    return program


def _now(since: float) -> dict[object, tuple[str, float]]:
    import psutil

    times: dict[object, tuple[str, float]] = {}
    for process in psutil.process_iter(["cmdline", "cpu_times", "create_time"]):
        used = process.info["cpu_times"]
        if used and process.info["create_time"] >= since:  # None without the permission to read it
            key = (process.pid, process.info["create_time"])
            times[key] = (process_name(process.info["cmdline"] or []), used.user + used.system)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    times["children"] = ("children that ended", ended.ru_utime + ended.ru_stime)
    return times
