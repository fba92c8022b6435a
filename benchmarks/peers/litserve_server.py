"""The same detector behind LitServe (https://lightning.ai/docs/litserve): batching and several workers a device.

LitServe takes JSON or a form; a picture comes as a form's file, which spares it base64.
"""

from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers import detection

# No `from __future__ import annotations` here: LitServe compares the annotation of `request` with the class.


class DetectionAPI(litserve.LitAPI):
    """Takes the form's file `picture`; answers JSON."""

    def setup(self, device: str) -> None:
        """Opens the detector in the worker's own process."""
        self.detection = detection.Detection()

    def decode_request(self, request: Request) -> bytes:
        """Reads the file; pixels are decoded in parallel for a whole batch."""
        content: bytes = request["picture"].file.read()  # type: ignore[index]  # the form, in spite of the type
        return content

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Keeps the batch a list."""
        return inputs

    def predict(self, x: Any) -> Any:
        """Is given a list where batches are larger than 1, else a single picture."""
        return self.detection(x) if isinstance(x, list) else self.detection([x])[0]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Has nothing to take apart."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Is JSON already."""
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
