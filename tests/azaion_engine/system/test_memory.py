"""available_memory: the machine's, or the container's limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from azaion_engine.system.memory import available_memory


def test_the_containers_limit_counts_if_it_is_smaller(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    machine = available_memory(limit)
    assert machine > 2**28
    limit.write_text("1048576\n")
    assert available_memory(limit) == 2**20


@pytest.mark.parametrize("text", ["max\n", "", str(2**63)])
def test_without_a_limit_it_is_the_machines(tmp_path: Path, text: str) -> None:
    limit = tmp_path / "memory.max"
    machine = available_memory(limit)
    limit.write_text(text)
    assert available_memory(limit) == machine
