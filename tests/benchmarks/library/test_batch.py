"""The batch benchmark: a job's rate, in which parts that waited to be written do not count."""

from __future__ import annotations

from benchmarks.library.batch import steady_rate


def test_parts_that_wait_while_writers_start_do_not_raise_the_rate() -> None:
    detected = [(float(second), 100 * second) for second in range(1, 101)]
    # Nothing is written for 50 seconds, then 400 a second, until there is nothing to wait for.
    written = [(float(second), min(100 * second, 400 * (second - 50))) for second in range(51, 101)]
    assert steady_rate(detected, written) == 100
