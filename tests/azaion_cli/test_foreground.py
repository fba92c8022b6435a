"""A service ends as a whole: after a signal to its process group, and after the end of Ray."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from azaion_cli.exit_codes import ExitCode
from azaion_engine.model.file import sample_picture
from tests.azaion_cli.service_process import begin_service, start_service
from tests.running_serve import free_port

BOUND_S = 15
"""Seconds within which a service without requests ends."""
RAYLET_S = 10
"""Seconds that Ray's raylet takes to end, if it and all its workers get SIGTERM at once."""


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()) or process.name())
        except psutil.NoSuchProcess:
            continue
    return found


def is_free(port: int) -> bool:
    return all(each.laddr.port != port for each in psutil.net_connections("tcp") if each.status == "LISTEN")


def kill(name: str) -> Callable[[int], None]:
    """Returns what kills a daemon of a service."""
    return lambda pid: next(each for each in family(pid) if each.name() == name).kill()


def kill_the_command(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def end_all_at_once(pid: int) -> None:
    """Does what systemd does with the processes of a service."""
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            process.terminate()


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("mode", "end", "expected", "seconds"),
    [
        ("--no-throughput", kill("gcs_server"), ExitCode.ENVIRONMENT, BOUND_S),
        ("--throughput", end_all_at_once, ExitCode.OK, RAYLET_S + BOUND_S),
        ("--throughput", kill_the_command, -signal.SIGKILL, BOUND_S),
    ],
    ids=["gcs", "all", "command"],
)
def test_nothing_of_a_service_outlives_ray_or_the_command(
    tmp_path: Path, mode: str, end: Callable[[int], None], expected: int, seconds: float
) -> None:
    port = free_port()
    process = start_service(tmp_path, port, mode)
    everyone = family(process.pid)
    try:
        begun = time.monotonic()
        end(process.pid)
        assert process.wait(seconds) == expected, (tmp_path / "log").read_text()
        # A killed command cannot wait for the others.
        until = begun + seconds if end is kill_the_command else 0
        while (left := alive(everyone)) or not is_free(port):
            assert time.monotonic() < until, left
            time.sleep(0.2)
    finally:
        for each in everyone:
            if each.is_running():
                each.kill()


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(("mode", "number"), [("--throughput", signal.SIGTERM), ("--no-throughput", signal.SIGHUP)])
def test_a_signal_to_the_group_ends_all_after_the_accepted_requests(
    tmp_path: Path, mode: str, number: signal.Signals
) -> None:
    port = free_port()
    process = start_service(tmp_path, port, mode)
    everyone = family(process.pid)
    try:
        with ThreadPoolExecutor(4) as clients:
            url = f"http://127.0.0.1:{port}/detect"
            asked = [clients.submit(httpx.post, url, content=sample_picture(), timeout=60) for _ in range(4)]
            time.sleep(0.3)  # a picture takes 0.25 s on two cores: most of them wait
            os.killpg(process.pid, number)
            assert [answer.result().status_code for answer in asked] == [200] * 4
        assert process.wait(BOUND_S) == ExitCode.OK, (tmp_path / "log").read_text()
        assert (alive(everyone), is_free(port)) == ([], True)
    finally:
        for each in everyone:
            if each.is_running():
                each.kill()


@pytest.mark.usefixtures("no_ray")
def test_a_signal_to_the_group_ends_a_service_that_starts(tmp_path: Path) -> None:
    process = begin_service(tmp_path, free_port())
    everyone = family(process.pid)
    try:
        deadline = time.monotonic() + 60
        while not any("gcs_server" in line for line in alive(everyone)):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
            everyone = family(process.pid)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(BOUND_S) == ExitCode.OK, (tmp_path / "log").read_text()
        assert alive(everyone) == []
    finally:
        for each in everyone:
            if each.is_running():
                each.kill()
