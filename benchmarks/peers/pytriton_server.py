"""PyTriton server: the same detector behind NVIDIA PyTriton (https://triton-inference-server.github.io/pytriton).

Triton's HTTP front end and dynamic batcher call Python; several callables run at the same time.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers import detection


class DetectionCallable:
    """Takes a batch of encoded pictures as bytes; returns a batch of JSON texts."""

    def __init__(self) -> None:
        self._detection = detection.Detection()

    @batch
    def __call__(self, picture: NDArray[np.object_]) -> dict[str, NDArray[Any]]:
        """Answers a batch of Triton's dynamic batcher."""
        answers = self._detection([data for [data] in picture])
        return {"answer": np.array([[json.dumps(answer).encode()] for answer in answers], dtype=object)}


if __name__ == "__main__":
    config = TritonConfig(http_address="127.0.0.1", http_port=detection.PORT, allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="detect",
            infer_func=[DetectionCallable() for _ in range(detection.WORKERS)],
            inputs=[Tensor(name="picture", dtype=object, shape=(1,))],  # dtype bytes would lose trailing zeros
            outputs=[Tensor(name="answer", dtype=object, shape=(1,))],
            config=ModelConfig(max_batch_size=detection.BATCH_SIZE, batcher=DynamicBatcher()),
        )
        triton.serve()
