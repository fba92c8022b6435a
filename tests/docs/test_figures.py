"""README's figures: the rates and times of its table are in the records that the chapter names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.docs.blocks import ROOT

CHAPTER = (ROOT / "README.md").read_text().partition("## How fast")[2].partition("\n## ")[0]


def numbers(record: Any) -> Iterator[float]:
    if isinstance(record, dict):
        record = list(record.values())
    if isinstance(record, list):
        for part in record:
            yield from numbers(part)
    elif isinstance(record, (int, float)):
        yield record


def test_rates_and_times_are_recorded() -> None:
    recorded = set()
    for name in re.findall(r"(\w+\.json)`", CHAPTER):
        for number in numbers(json.loads((ROOT / "benchmarks" / "results" / name).read_text())):
            recorded |= {f"{number:,.0f}", f"{number:.1f} ms"}
    told = re.findall(r"\b\d,\d{3}\b|\b\d+\.\d ms", CHAPTER)
    assert len(told) > 8
    assert [figure for figure in told if figure not in recorded] == []
