"""Hostile pictures: each costs at most a second and the memory it is charged with, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.attacks import ATTACKS
from tests.hostile.fuzz import MOST_CPU_S, fault_of
from tests.hostile.measuring import measure_in_child

TAKEN = {
    *("PNG of profiles", "PNG of texts", "PNG of slivers", "WebP of frames"),
    *("JPEG of EXIF", "JPEG of Photoshop resources", "JPEG of junk"),
    *(name for name in ATTACKS if name.startswith("narrow")),
}
"""Attacks on what is skipped or within the bounds: the picture is decoded."""


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_at_most_a_second_and_what_it_is_charged(name: str, tmp_path: Path) -> None:
    data = ATTACKS[name]()
    assert len(data) <= 32 * 2**20
    cost = measure_in_child(data, tmp_path)
    print(f"{name}: {len(data)} bytes, {cost.cpu_s:.3f} s, {cost.peak / 2**20:.1f} MiB, {cost.outcome}: {cost.message}")
    assert not fault_of(cost), f"{fault_of(cost)}, at most {MOST_CPU_S} s"
    assert (cost.outcome == "picture") == (name in TAKEN), cost
