"""Reception: what every request passes before a model sees it: keys, places for arriving bodies, and their memory."""

from __future__ import annotations

from collections.abc import Callable

from deployments.access.guard import Guard
from deployments.batching.arriving import ArrivingBodies
from deployments.errors import OverloadedError
from deployments.watching.record import RequestRecord


class Reception:
    """The requests of one replica; used from one event loop.

    Attributes:
        guard: Keys and their limits; None where no key is needed.
        bodies: Limits the requests whose bodies are arriving, and how slowly they may; each takes one place.
        held_bytes: Bytes of the bodies of all requests.
    """

    def __init__(
        self,
        bodies_at_once: int,
        timeout_s: float,
        most_bytes: int,
        guard: Guard | None = None,
        on_over: Callable[[RequestRecord], None] = lambda record: None,
    ) -> None:
        """Begins without requests.

        Args:
            bodies_at_once: Maximum number of bodies arriving at a time.
            timeout_s: Seconds within which a body must be complete.
            most_bytes: Maximum bytes of the bodies of all requests.
            guard: Keys and their limits; `close` closes it.
            on_over: Called with every finished request.
        """
        self.guard = guard
        self.bodies = ArrivingBodies(bodies_at_once, timeout_s)
        self.held_bytes = 0
        self._most_bytes = most_bytes
        self._on_over = on_over

    def hold_body(self, record: RequestRecord, size: int) -> None:
        """Counts bytes of a body that arrived; they are held until the request is over.

        Args:
            record: Whose body it is.
            size: Bytes of its next part.

        Raises:
            OverloadedError: The bodies of all requests have as many bytes as they may. A single request is bounded by
                its own limit only.
        """
        if self.held_bytes + size > self._most_bytes and self.held_bytes > record.held_bytes:
            raise OverloadedError(f"the pictures of all requests take {self._most_bytes >> 20} MiB; try again later")
        self.held_bytes += size
        record.held_bytes += size

    def request_over(self, record: RequestRecord) -> None:
        """Reports a finished request, and forgets its body."""
        self.held_bytes -= record.held_bytes
        record.held_bytes = 0
        self._on_over(record)

    def close(self) -> None:
        """Closes the guard."""
        if self.guard is not None:
            self.guard.close()
