from __future__ import annotations

import os
import subprocess
import sys
import time

from azaion_cli.tuning import processes
from azaion_cli.tuning.processes import ChildTree

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), grandchild.pid, os.environ["GIVEN"], flush=True)
time.sleep(600)
"""


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def started(tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as file:
        tree = ChildTree([sys.executable, "-c", STUBBORN], {"GIVEN": "word"}, file)
    while not log.read_text().endswith("word\n"):
        time.sleep(0.05)
    child, grandchild, _ = log.read_text().split()
    return tree, int(child), int(grandchild)


def test_descendants_in_sessions_of_their_own_end_too_and_others_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.3)
    other = subprocess.Popen(["sleep", "600"])
    try:
        tree, child, grandchild = started(tmp_path)
        tree.stop()
        assert not is_alive(child)
        assert not is_alive(grandchild)
        assert is_alive(other.pid)
    finally:
        other.kill()
        other.wait()


def test_a_grandchild_seen_before_its_parent_ended_is_not_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.3)
    tree, child, grandchild = started(tmp_path)
    tree.look()
    os.kill(child, 9)
    tree.process.wait()
    assert is_alive(grandchild)
    tree.stop()
    assert not is_alive(grandchild)
