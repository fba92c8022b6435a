"""The example that reads a job's parts runs as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.azaion_batch.conftest import Run, rows_in

ROOT = Path(__file__).parents[2]


def test_archive_counts_what_the_parts_hold(run: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "3.png").write_bytes(b"broken")
    run([pictures], tmp_path / "out")
    command = [sys.executable, "examples/archive.py", str(tmp_path / "out"), "--confidence", "0"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    counts = Counter(name for row in rows_in(tmp_path / "out") for name in row["class_names"])
    assert lines[: len(counts)] == [f"{count} {name}" for name, count in counts.most_common()]
    assert lines[len(counts)] == "8 pictures, 1 failed"
    assert lines[-1].startswith(str(pictures / "3.png") + ": given no picture")
