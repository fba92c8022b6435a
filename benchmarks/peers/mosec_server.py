"""mosec server: the same detector behind mosec (https://mosecorg.github.io/mosec), with workers and dynamic batching.

Decoding and engine are one stage: with two, 20 MB of float32 per picture would have to pass between processes.
"""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker

from benchmarks.peers import detection


class DetectionWorker(Worker):
    """Takes the picture as the body of the request; answers JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.detection = detection.Detection()

    def deserialize(self, data: bytes) -> bytes:
        """Converts the body, which mosec passes as a bytearray."""
        return bytes(data)

    def forward(self, data: Any) -> Any:
        """Answers a list of pictures, or a single picture if the batch size is 1."""
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
