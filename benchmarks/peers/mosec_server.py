"""The same detector behind mosec (https://mosecorg.github.io/mosec): one stage, `num` processes, dynamic batching.

Decoding shares the stage with the engine: as a stage of its own it would pass 20 MB of float32 a picture between
processes.
"""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker

from benchmarks.peers import detection


class DetectionWorker(Worker):
    """Takes the picture as the request's body; answers JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.detection = detection.Detection()

    def deserialize(self, data: bytes) -> bytes:
        """Keeps the body as it is; mosec gives a bytearray."""
        return bytes(data)

    def forward(self, data: Any) -> Any:
        """Is given a list where batches are larger than 1, else a single picture."""
        return self.detection(data) if detection.BATCH_SIZE > 1 else self.detection([data])[0]


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        DetectionWorker,
        num=detection.WORKERS,
        max_batch_size=detection.BATCH_SIZE,
        max_wait_time=10,  # ms, mosec's default
        timeout=60,
        route="/detect",
    )
    server.run()
