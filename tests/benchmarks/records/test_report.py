from __future__ import annotations

import pytest

from benchmarks.records.record import summarise
from benchmarks.records.report import insert, table
from tests.benchmarks.records.made import RECORD


def test_the_short_table_has_one_line_a_server() -> None:
    short, long = table(RECORD, short=True), table(RECORD)

    assert "| azaion-engine | 1 | 2 | 9.20 | 100 | 200 | 400 | 0 | 0.920 |" in short
    assert "| azaion-engine | 1 | 1 | 5.50 | 100 | 200 | 400 | 0 |" in long
    assert (short.count("azaion-engine"), long.count("azaion-engine")) == (1, 2)
    assert "| pipeline in process |  |  | 10.00 |" in short


def test_on_a_gpu_rates_are_compared_with_the_engine_alone() -> None:
    record = {**RECORD, "machine": {**RECORD["machine"], "gpu": "a GPU"}}

    assert summarise(record)[0].ratio == pytest.approx(0.55 / 1.2)
    lines = table(record, short=True).splitlines()
    assert lines[0].endswith("| of the engine alone |")
    assert "| engine alone |  |  | 12.00 |  |  |  |  | 1 |" in lines


def test_a_table_replaces_the_one_between_its_marks() -> None:
    before = "a\n<!-- cpu.json -->\nold\n\nold\n<!-- end -->\nb\n"

    assert insert(before, "cpu.json", "new") == "a\n<!-- cpu.json -->\nnew\n<!-- end -->\nb\n"


def test_a_file_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one '<!-- cpu.json -->'"):
        insert("a\n<!-- gpu.json -->\n<!-- end -->\n", "cpu.json", "new")
