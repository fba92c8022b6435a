"""library_lines_as_json: what libraries write to stderr past Python is JSON, and nothing else changes."""

from __future__ import annotations

import json
import subprocess
import sys

NOISE = """
import logging, os, sys, warnings
from azaion_cli import app, console

def noisy(given, as_json):
    os.write(2, b"[ WARN:0@0.1] a C library: caf\\xe9\\n\\n")
    warnings.warn("old", FutureWarning)
    console.show_log(verbose=False)
    logging.getLogger("azaion_engine").warning("slow")
    console.say_error("usage", "wrong", as_json=as_json)
    os.write(2, b"no line end")
    return 3

app._run = noisy
sys.exit(app.main(["detect", *sys.argv[1:]]))
"""


def run(*given: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", NOISE, *given], capture_output=True, check=False, timeout=60)


def test_with_json_every_line_of_stderr_is_an_object() -> None:
    done = run("--json")
    assert (done.returncode, done.stdout) == (3, b"")
    told = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert {"error": {"code": "usage", "message": "wrong"}} in told
    messages = [line["log"]["message"] for line in told if "log" in line]
    assert sorted(messages) == ["FutureWarning: old", "[ WARN:0@0.1] a C library: caf\\xe9", "no line end", "slow"]


def test_without_it_they_are_as_they_were() -> None:
    assert b"[ WARN:0@0.1] a C library: caf\xe9\n\n" in run().stderr
