"""Front: what the services of one replica have in common."""

from __future__ import annotations

from typing import NamedTuple

from deployments.access.guard import Guard
from deployments.reception import Reception
from deployments.settings import ServiceSettings
from deployments.watching.log import RequestLog
from deployments.watching.metrics import ServiceMetrics, watched_gpu
from deployments.watching.recent import RecentPictures
from deployments.watching.record import RequestRecord


class Front(NamedTuple):
    """What the services of one replica have in common.

    Attributes:
        reception: What the requests pass first.
        metrics: Of the replica.
        recent: Keeps pictures of the last requests; None if none are to be kept.
    """

    reception: Reception
    metrics: ServiceMetrics
    recent: RecentPictures | None = None

    def close(self) -> None:
        """Closes both."""
        self.reception.close()
        self.metrics.close()


def open_front(settings: ServiceSettings, batch_size: int, most_bytes: int, guard: Guard | None) -> Front:
    """Opens what the services of one replica have in common.

    Args:
        settings: Limits.
        batch_size: Pictures of one execution at most, for the metrics.
        most_bytes: Maximum bytes of the bodies of all requests.
        guard: Keys and their limits; `close` closes it.
    """
    metrics, log = ServiceMetrics(batch_size=batch_size, max_queue=settings.max_queue, gpu=watched_gpu()), RequestLog()

    def request_over(record: RequestRecord) -> None:
        metrics.request_over(record)
        log.write(record)

    recent = RecentPictures(settings.recent_pictures) if settings.recent_pictures else None
    reception = Reception(settings.bodies_at_once, settings.timeout_s, most_bytes, guard, request_over)
    return Front(reception, metrics, recent)
