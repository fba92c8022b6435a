"""CacheMetrics: the Prometheus metrics of a replica's models that are rarely used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ray.serve.metrics import Counter, Gauge


class CacheMetrics:
    """Which models are loaded, how often, and how long it took; by the label `model`."""

    def __init__(self, models: Iterable[str]) -> None:
        """Registers the metrics.

        Args:
            models: The names of all models.
        """
        self._loaded = Gauge("azaion_model_loaded", "Whether the model is in memory, 0 or 1.", ("model",))
        self._loads = Counter("azaion_model_loads_total", "Times that a model was loaded.", ("model", "outcome"))
        self._seconds = Gauge("azaion_model_load_seconds", "Seconds that loading took last.", ("model",))
        self._requests = Counter("azaion_model_requests_total", "Requests that got a model.", ("model",))
        for model in models:
            self._loaded.set(0, {"model": model})

    def event(self, model: str, event: Literal["loaded", "failed", "closed"], seconds: float) -> None:
        """Records what happened to a model, as `model_cache.OnEvent`."""
        self._loaded.set(float(event == "loaded"), {"model": model})
        if event != "closed":
            self._loads.inc(1, {"model": model, "outcome": event})
        if event == "loaded":
            self._seconds.set(seconds, {"model": model})

    def request(self, model: str) -> None:
        """Records a request that got a model."""
        self._requests.inc(1, {"model": model})
