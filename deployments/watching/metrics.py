"""ServiceMetrics: the Prometheus metrics of one replica.

A request only appends to lists. A separate thread adds them up once a second and reports to Ray, whose node agent
serves them to Prometheus with `ray_` before each name and the labels `application`, `deployment` and `replica`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import ray
from ray.serve.metrics import Counter, Gauge

from azaion_engine.cuda.gpu import Gpu, describe_gpu
from azaion_engine.errors import AzaionError
from deployments.watching.histogram import CounterHistogram
from deployments.watching.record import RequestRecord, current_request
from deployments.watching.stage_times import StageTimes

if TYPE_CHECKING:
    from azaion_engine.plans.store import StoreOutcome

logger = logging.getLogger("ray.serve")
Item = TypeVar("Item")

FLUSH_S = 1.0
"""Seconds between two reports to Ray, which itself exports every 10 s (`metrics_report_interval_ms`)."""
GPU_SAMPLE_S = 5.0

STAGES = ("decode", "queue", "engine", "encode")
_STAGE_BOUNDS_S = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30),
)
_BATCH_BOUNDS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


class ServiceMetrics:
    """The metrics of one replica; recording is safe from any thread."""

    def __init__(
        self,
        *,
        batch_size: int,
        max_queue: int,
        gpu: Gpu | None,
    ) -> None:
        """Registers the metrics and starts the thread that reports to Ray.

        Args:
            batch_size: Maximum batch size.
            max_queue: Maximum number of pictures in the replica.
            gpu: GPU to sample through NVML; None on a CPU.
        """
        self._pictures: deque[tuple[str, StageTimes]] = deque()
        self._batches: deque[tuple[str, int]] = deque()
        self._over: deque[RequestRecord] = deque()
        self._depths: list[Callable[[], int]] = []
        self._versions = Counter("azaion_version_pictures_total", "Pictures answered, by version.", ("version",))
        self._gpu = gpu
        self._gpu_due = 0.0
        self._requests = Counter(
            "azaion_requests_total", "Requests over HTTP, detections over gRPC.", ("route", "outcome")
        )
        self._rejected = Counter(
            "azaion_pictures_rejected_total", "Pictures not answered, by the code of the error.", ("reason",)
        )
        self._keys = Counter("azaion_key_requests_total", "Requests with a known key, by its name.", ("key", "outcome"))
        self._key_pictures = Counter("azaion_key_pictures_total", "Pictures answered, by the key's name.", ("key",))
        self._stages = CounterHistogram(
            "azaion_stage_seconds", "Seconds that a picture spends in a stage.", _STAGE_BOUNDS_S, "stage", STAGES
        )
        self._fill = CounterHistogram("azaion_batch_pictures", "Pictures in a batch.", _BATCH_BOUNDS, "engine", ())
        self._depth = Gauge("azaion_queue_depth", "Pictures in the replica: decoding, waiting or running.")
        Gauge("azaion_queue_limit", "Pictures that the replica holds at most.").set(max_queue)
        Gauge("azaion_batch_size", "Pictures of one execution at most.").set(batch_size)
        self._opened = Counter(
            "azaion_engine_opened_total", "TensorRT engines, built or loaded from the cache.", ("action",)
        )
        self._open_seconds = Gauge("azaion_engine_open_seconds", "Seconds until the engine was ready.", ("action",))
        self._gpu_memory_used = Gauge("azaion_gpu_memory_used_bytes", "GPU memory in use, by all processes.", ("gpu",))
        self._gpu_memory = Gauge("azaion_gpu_memory_bytes", "GPU memory in total.", ("gpu",))
        self._gpu_utilization = Gauge(
            "azaion_gpu_utilization_ratio", "Share of the last sample period in which a kernel ran, 0 to 1.", ("gpu",)
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def opened(self, engine_name: str, engine_origin: StoreOutcome | None, queue_depth: Callable[[], int]) -> None:
        """Records an engine that serves from now on, beside those that do already.

        Args:
            engine_name: Its name.
            engine_origin: Whether its plan was built or loaded; None without a plan.
            queue_depth: Returns the number of its pictures in the replica; called from the reporting thread.
        """
        self._fill.begin(engine_name)
        if engine_origin is not None:
            self._opened.inc(1, {"action": engine_origin.action})
            self._open_seconds.set(engine_origin.seconds, {"action": engine_origin.action})
        self._depths = [*self._depths, queue_depth]

    def closed(self, queue_depth: Callable[[], int]) -> None:
        """Forgets an engine that serves no more.

        Args:
            queue_depth: As `opened` got it.
        """
        self._depths = [each for each in self._depths if each != queue_depth]

    def answered(self, times: StageTimes, version: str | None = None) -> None:
        """Records one answered picture, for Prometheus and for its request.

        Args:
            times: How long each stage took.
            version: Of the model; None without a file.
        """
        self._pictures.append((version or "none", times))
        if (request := current_request.get()) is not None:
            request.answered(times)

    def batch(self, engine_name: str, pictures: int) -> None:
        """Records one execution of an engine."""
        if pictures:
            self._batches.append((engine_name, pictures))

    def request_over(self, request: RequestRecord) -> None:
        """Records one finished request."""
        self._over.append(request)

    def close(self) -> None:
        """Reports what is left to Ray, and ends the thread."""
        self._stopped.set()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            stopping = self._stopped.wait(FLUSH_S)
            try:
                self._flush()
                if self._gpu is not None and time.monotonic() >= self._gpu_due:
                    self._gpu_due = time.monotonic() + GPU_SAMPLE_S
                    self._sample(self._gpu)
            except Exception:  # failing metrics must not stop the service
                logger.exception("metrics were lost")
            if stopping:
                return

    def _flush(self) -> None:
        self._depth.set(sum(depth() for depth in self._depths))
        pictures, requests = _drain(self._pictures), _drain(self._over)
        milliseconds = [times.milliseconds() for _, times in pictures]
        for version, count in Tally(version for version, _ in pictures).items():
            self._versions.inc(count, {"version": version})
        for stage in ("decode", "queue", "engine"):
            self._stages.add(stage, [times[stage] / 1000 for times in milliseconds])
        self._stages.add("encode", [request.encode_s for request in requests if request.encode_s is not None])
        batches = _drain(self._batches)
        for engine_name in {name for name, _ in batches}:
            self._fill.add(engine_name, [float(filled) for name, filled in batches if name == engine_name])
        for (route, outcome), count in Tally((request.route, request.outcome) for request in requests).items():
            self._requests.inc(count, {"route": route, "outcome": outcome})
        for reason, count in Tally(code for request in requests for code in request.rejected).items():
            self._rejected.inc(count, {"reason": reason})
        keyed = [request for request in requests if request.key]
        for (key, outcome), count in Tally((request.key, request.outcome) for request in keyed).items():
            self._keys.inc(count, {"key": key, "outcome": outcome})
        for key, count in Tally(request.key for request in keyed for _ in request.pictures).items():
            self._key_pictures.inc(count, {"key": key})

    def _sample(self, gpu: Gpu) -> None:
        labels = {"gpu": gpu.uuid or gpu.pci_bus_id}
        self._gpu_memory.set(gpu.memory_bytes, labels)
        try:
            usage = gpu.usage()
        except AzaionError as error:
            logger.warning("the GPU is no longer watched: %s", error)
            self._gpu = None
            return
        if usage.memory_used_bytes is not None:
            self._gpu_memory_used.set(usage.memory_used_bytes, labels)
        if usage.utilization is not None:
            self._gpu_utilization.set(usage.utilization, labels)


def watched_gpu() -> Gpu | None:
    """Returns the GPU that Ray gave this replica; None without one, or if the driver or NVML is missing."""
    if not ray.get_gpu_ids():
        return None
    try:
        return describe_gpu(0)
    except AzaionError as error:
        logger.warning("the GPU is not watched: %s", error)
        return None


def _drain(queue: deque[Item]) -> list[Item]:
    return [queue.popleft() for _ in range(len(queue))]  # items appended meanwhile stay for the next flush
