"""Time that tests set."""

from __future__ import annotations


class FakeClock:
    """Seconds that pass when a test says so; begins at noon."""

    def __init__(self) -> None:
        self.now = 20_000 * 86400 + 43200.0

    def __call__(self) -> float:
        return self.now
