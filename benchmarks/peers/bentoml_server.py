"""The same detector behind BentoML (https://docs.bentoml.com): workers, and adaptive batching where there are batches.

Started with `bentoml serve benchmarks.peers.bentoml_server:DetectionService`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml

from benchmarks.peers import detection


@bentoml.service(
    workers=detection.WORKERS,
    # A lone worker decodes one batch while its engine runs another; of several, each has a core to itself.
    threads=1 if detection.WORKERS > 1 else 2,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class DetectionService:
    """Takes the form's files `pictures`; answers a JSON list."""

    def __init__(self) -> None:
        self.detection = detection.Detection()

    @bentoml.api(
        route="/detect",
        batchable=detection.BATCH_SIZE > 1,
        max_batch_size=max(2, detection.BATCH_SIZE),  # 1 is refused, batchable or not
        max_latency_ms=60_000,
    )
    def detect(self, pictures: list[Path]) -> list[dict[str, Any]]:
        """Answers one picture, or those that the dispatcher has put together."""
        return self.detection([picture.read_bytes() for picture in pictures])
