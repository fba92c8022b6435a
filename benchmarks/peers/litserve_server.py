"""LitServe server: the same detector behind LitServe (https://lightning.ai/docs/litserve), with batching and workers.

LitServe takes JSON or a form. A picture comes as a file of a form, which needs no base64.
"""

from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers import detection

# No `from __future__ import annotations` here: LitServe compares the annotation of `request` with the class.


class DetectionAPI(litserve.LitAPI):
    """Takes the file `picture` of a form; answers JSON."""

    def setup(self, device: str) -> None:
        """Opens the detector in the worker's own process."""
        self.detection = detection.Detection()

    def decode_request(self, request: Request) -> bytes:
        """Reads the file; `predict` decodes the pictures of a batch in parallel."""
        content: bytes = request["picture"].file.read()  # type: ignore[index]  # LitServe passes the form, not a Request
        return content

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Returns the batch as the list it is."""
        return inputs

    def predict(self, x: Any) -> Any:
        """Answers a list of pictures, or a single picture if the batch size is 1."""
        return self.detection(x) if isinstance(x, list) else self.detection([x])[0]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the answers, which are a list already."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Returns the answer, which consists of JSON values already."""
        return output


if __name__ == "__main__":
    api = DetectionAPI(max_batch_size=detection.BATCH_SIZE, batch_timeout=0.01, api_path="/detect")
    server = litserve.LitServer(
        api,
        accelerator="cpu" if detection.SETTINGS.engine == "onnx" else "auto",
        devices=1,
        workers_per_device=detection.WORKERS,
        timeout=60,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1", port=detection.PORT, num_api_servers=1, generate_client_file=False, log_level="warning"
    )
