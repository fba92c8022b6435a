"""BentoML server: the same detector behind BentoML (https://docs.bentoml.com), with workers and adaptive batching.

Batching is off if the batch size is 1. Start it with `bentoml serve benchmarks.peers.bentoml_server:DetectionService`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml

from benchmarks.peers import detection


@bentoml.service(
    workers=detection.WORKERS,
    # Two threads let a lone worker decode one batch while its engine runs another. Several workers have a core each.
    threads=1 if detection.WORKERS > 1 else 2,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class DetectionService:
    """Takes the files `pictures` of a form; answers a JSON list."""

    def __init__(self) -> None:
        self.detection = detection.Detection()

    @bentoml.api(
        route="/detect",
        batchable=detection.BATCH_SIZE > 1,
        max_batch_size=max(2, detection.BATCH_SIZE),  # BentoML refuses 1, even if not batchable
        max_latency_ms=60_000,
    )
    def detect(self, pictures: list[Path]) -> list[dict[str, Any]]:
        """Answers the pictures of one request, or of a batch."""
        return self.detection([picture.read_bytes() for picture in pictures])
