"""Candidates: the settings that `azaion tune` tries on a host, and the order in which it tries them.

The grid is searched one coordinate after the other, not as a full product. Batch size and replicas hardly depend on
each other: the batch size follows from the engine, the replicas from the work around it (receiving and decoding). A
product would cost a service's start for each pair, and on a GPU the build of an engine, which takes minutes, for each
batch size. So the engine alone sorts out batch sizes in one process, the replicas are then measured over HTTP with the
best of them, and the batch sizes left over are measured with the best replicas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GPU_BATCH_SIZES = (1, 4, 8, 16, 32)
CPU_BATCH_SIZES = (1, 2, 4)
MOST_CPU_STEPS = 4
"""Most numbers of replicas that are tried on a CPU."""
WORTHWHILE = 1.03
"""Ratio of two rates from which the higher one is worth a larger batch or more clients."""
BATCHES_IN_A_LATENCY = 2
"""A picture may wait for the batch that runs before it takes part in one."""
BUILD_S = 120.0
"""Estimate of the build of one TensorRT engine, seconds; 76 s for the demo model on an H100."""
START_S = 30.0
"""Estimate of the start and the stop of a service whose engine is built, seconds."""


@dataclass(frozen=True)
class Host:
    """What there is to share on this machine.

    Attributes:
        cores: CPU cores that this process may use.
        gpus: GPUs that the service would use; 0 means ONNX Runtime on the CPU.
        gpu: Name of the first GPU; None without.
    """

    cores: int
    gpus: int = 0
    gpu: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One setting of the service.

    Attributes:
        replicas: Replicas, per GPU where there is one.
        batch_size: Pictures of one execution; None leaves the default.
        on_gpu: Whether `replicas` counts those of a GPU.
    """

    replicas: int
    batch_size: int | None
    on_gpu: bool

    @property
    def args(self) -> dict[str, int]:
        """The keys of the configuration that it sets; `threads` follows from the replicas by itself."""
        sizes = {} if self.batch_size is None else {"batch_size": self.batch_size}
        return {"replicas_per_gpu" if self.on_gpu else "cpu_replicas": self.replicas, **sizes}


@dataclass(frozen=True)
class Grid:
    """Everything that may be tried.

    Attributes:
        replicas: Numbers of replicas, in the order of trying.
        batch_sizes: Batch sizes, ascending; a single None leaves the model's own.
        on_gpu: Whether the replicas are those of a GPU.
    """

    replicas: tuple[int, ...]
    batch_sizes: tuple[int | None, ...]
    on_gpu: bool

    @classmethod
    def of(cls, host: Host, model_batch: int, fixed: Mapping[str, Any]) -> Grid:
        """Returns the grid of a host and a model.

        Args:
            host: The machine.
            model_batch: Batch size that the model's file fixes; 0 or less if it is dynamic.
            fixed: Keys of the configuration that the user chose; they are not varied.
        """
        on_gpu = host.gpus > 0
        chosen = fixed.get("replicas_per_gpu" if on_gpu else "cpu_replicas")
        counts = _replicas(host) if chosen in (None, "auto") else (int(chosen),)
        return cls(counts, _batch_sizes(on_gpu, model_batch, fixed), on_gpu)

    @property
    def largest_batch(self) -> int:
        """The largest batch size, at least 1."""
        return max((size or 1 for size in self.batch_sizes), default=1)

    @property
    def sorts(self) -> bool:
        """Whether the engine alone is measured, which leaves at most two of the batch sizes."""
        return len(self.batch_sizes) > 1

    @property
    def services(self) -> int:
        """The most services that are started: for each number of replicas, and for the second batch size."""
        return len(self.replicas) + self.sorts

    def estimate_s(self, seconds: float) -> float:
        """Returns the estimated time of trying all, in seconds, if no engine is built yet.

        Args:
            seconds: Length of one load.
        """
        loads = sum(_loads(replicas * self.largest_batch) for replicas in self.replicas)
        loads += _loads(max(self.replicas) * self.largest_batch) if self.sorts else 0
        builds = (3 if self.sorts else 1) * BUILD_S if self.on_gpu else 0.0  # the largest, and the two that are left
        alone = 10 + (len(self.batch_sizes) + 2) * min(seconds, 2.0) if self.sorts else 0.0
        return builds + alone + self.services * START_S + loads * 1.3 * seconds


def worthwhile(alone: Sequence[Mapping[str, float]], sizes: Sequence[int | None], latency_ms: float) -> list[int]:
    """Returns the batch sizes to measure over HTTP, the most promising first, at most two.

    The first is the smallest that reaches the best rate within 3 %, of those that fit into the latency twice: a picture
    may have to wait for the batch that runs. The second is the next smaller one, which answers sooner.

    Args:
        alone: What the engine alone did: `batch_size`, `median_ms`, `pictures_per_s`.
        sizes: Batch sizes of the grid.
        latency_ms: Bound of the p99, milliseconds.
    """
    asked = sorted((row for row in alone if row["batch_size"] in sizes), key=lambda row: row["batch_size"])
    fitting = [row for row in asked if BATCHES_IN_A_LATENCY * row["median_ms"] <= latency_ms] or asked[:1]
    best = max(row["pictures_per_s"] for row in fitting)
    first = next(index for index, row in enumerate(fitting) if row["pictures_per_s"] * WORTHWHILE >= best)
    return [int(row["batch_size"]) for row in fitting[max(0, first - 1) : first + 1]][::-1]


def _replicas(host: Host) -> tuple[int, ...]:
    if host.gpus:
        from deployments.placement import replicas_for_each_gpu  # imports Ray, which is slow

        most = replicas_for_each_gpu([{"Alive": True, "Resources": {"CPU": host.cores, "GPU": host.gpus}}])
        return tuple(sorted({1, max(1, most // 2), most}))
    steps = min(MOST_CPU_STEPS, host.cores.bit_length())
    spread = [round(host.cores ** (step / max(1, steps - 1))) for step in range(steps)]
    return tuple(sorted({min(host.cores, count) for count in spread}))


def _batch_sizes(on_gpu: bool, model_batch: int, fixed: Mapping[str, Any]) -> tuple[int | None, ...]:
    if "batch_size" in fixed:
        return (fixed["batch_size"],)
    if model_batch > 0:
        return (None,)
    most = fixed.get("max_queue", GPU_BATCH_SIZES[-1])  # a batch above max_queue never fills, the service refuses it
    return tuple(size for size in (GPU_BATCH_SIZES if on_gpu else CPU_BATCH_SIZES) if size <= most)


def _loads(clients: int) -> int:
    """Returns how many loads it takes until as many clients no longer raise the rate, doubling them from 1."""
    return clients.bit_length() + 2
