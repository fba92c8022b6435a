"""batch_graph: which batch sizes have a CUDA graph of their own."""

from __future__ import annotations

import pytest

from azaion_engine.engines.tensorrt.run.batch_graph import graph_size


@pytest.mark.parametrize("largest", [1, 3, 16, 20, 32, 100, 1024])
@pytest.mark.parametrize("few", [False, True])
def test_a_work_holds_the_rows_and_is_the_nearest_of_few(largest: int, few: bool) -> None:
    sizes = [graph_size(rows, 1, largest, few) for rows in range(1, largest + 1)]
    assert all(rows <= size <= largest for rows, size in enumerate(sizes, 1))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) <= (12 if few else 20)
    assert all(size < rows * (2 if few else 1.5) for rows, size in enumerate(sizes, 1))


def test_never_less_than_the_plan_takes() -> None:
    assert [graph_size(rows, 4, 4) for rows in (1, 3, 4)] == [4, 4, 4]
    assert graph_size(1, 2, 8, few=True) == 2
