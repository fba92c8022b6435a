"""EngineCard: what a host tells its clients of its engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from azaion_engine.heads.choice import Choice
from azaion_engine.pictures.prepared import PictureForm
from azaion_engine.plans.store import StoreOutcome


@dataclass(frozen=True)
class EngineCard:
    """Properties of the engine that a client needs; `host` is the host's process ID."""

    host: int
    name: str
    input_shape: tuple[int, int]
    batch_size: int
    lanes: int
    form: PictureForm
    origin: StoreOutcome | None
    choice: Choice
    output_names: tuple[str, ...]

    @property
    def promises(self) -> tuple[Any, ...]:
        """What clients rely on; the same model and settings choose the same head."""
        return self.input_shape, self.batch_size, self.lanes, self.form, self.output_names
