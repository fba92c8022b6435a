"""A session ends with all its processes, whoever is signalled or killed; without Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

COMMAND = """
import os, signal, subprocess, sys, time
from azaion_cli import session as module
from azaion_cli.session import begin_session, let_signals_end
module.GRACE_S, module._STEP_S = 0.5, float(sys.argv[1])
if session := begin_session():
    code = session.wait()
    print("asked" if session.asked else "not asked", flush=True)
    sys.exit(code)
def end(number, frame):
    print("got", number, "helper", helper.poll(), flush=True)
    sys.exit(7)
for number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, end)
ready = "print(1, flush=True); time.sleep(99)"
stubborn = "import os, signal, time; os.setpgrp(); signal.signal(signal.SIGTERM, signal.SIG_IGN);" + ready
helper = subprocess.Popen([sys.executable, "-c", "import time;" + ready], stdout=subprocess.PIPE)
other = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
helper.stdout.readline(), other.stdout.readline()
let_signals_end()
os.write(1, b"ready\\n")  # unlike print, a handler may print within it
while True:  # a signal just before a sleep does not shorten it
    time.sleep(0.1)
"""
"""Its session has a process that ends by itself on a signal, and one in another group that ignores SIGTERM."""


@contextmanager
def command(*before: str, step_s: float = 0.1) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Runs the command in a group of its own; yields it and the processes of its session, the leader first."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", COMMAND, str(step_s)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 3
    try:
        yield process, children
    finally:
        process.stdout.close()
        for each in children:
            if each.is_running():
                each.kill()
        process.kill()
        process.wait()


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_group_reaches_the_leader_alone_and_what_it_leaves_is_ended(number: signal.Signals) -> None:
    with command() as (process, session):
        os.killpg(process.pid, number)
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (7, f"got {number.value} helper None\nasked\n")
        assert living(session) == []


def test_what_it_leaves_is_ended_where_a_step_takes_longer_than_all_the_grace() -> None:
    with command(step_s=1.5) as (process, session):
        process.terminate()
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (7, f"got {signal.SIGTERM.value} helper None\nasked\n")
        assert living(session) == []


def test_a_killed_leader_is_told_as_shells_do() -> None:
    with command() as (process, session):
        session[0].kill()
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (128 + signal.SIGKILL, "not asked\n")
        assert living(session) == []


def test_the_leader_is_asked_to_end_when_the_command_is_killed() -> None:
    with command() as (process, _):
        process.kill()
        assert process.stdout is not None
        assert process.stdout.readline() == f"got {signal.SIGTERM.value} helper None\n"


def test_nohup_is_respected() -> None:
    with command("nohup") as (process, session):
        os.killpg(process.pid, signal.SIGHUP)
        time.sleep(0.5)
        assert living(session) == session
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) == 7
