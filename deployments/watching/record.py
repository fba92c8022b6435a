"""RequestRecord: what one request leaves behind for metrics, log and traces."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class RequestRecord:
    """One request, from its headers to its answer.

    Attributes:
        request_id: The X-Request-ID, over gRPC the metadata's request_id, made safe.
        method: HTTP method, or `gRPC`.
        route: The route's path as declared, or the full name of the gRPC method; `unknown` where none matched.
        status: HTTP status, over gRPC the one that the protocol has for the same over HTTP; 0 until the answer starts.
        outcome: `ok`, `partial` (some pictures of several failed), `cancelled` (the client left), or the error's code.
        pictures: For each answered picture its times (`Answer.timing_ms`) and when it was answered.
        errors: Codes of what failed, one a picture, or one for the whole request.
        started: `time.perf_counter` seconds, as are the others.
        responded: When the body was ready to be sent.
    """

    request_id: str
    method: str
    route: str = "unknown"
    status: int = 0
    outcome: str = "ok"
    pictures: list[tuple[dict[str, float], float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    responded: float = 0.0

    def answered(self, timing_ms: dict[str, float]) -> None:
        """Takes note of a picture that was answered just now."""
        self.pictures.append((timing_ms, time.perf_counter()))

    def failed(self, code: str) -> None:
        """Takes note of a picture, or a request, that was not answered."""
        self.errors.append(code)

    def respond(self, status: int) -> None:
        """Takes note of the answer, whose body is ready."""
        self.status = status
        self.responded = time.perf_counter()
        if self.errors:
            self.outcome = "partial" if status < 400 else self.errors[0]

    @property
    def engine_ended(self) -> float:
        """When the last batch with a picture of this request was over."""
        return max(at - (t["total"] - t["decode"] - t["queue"] - t["engine"]) / 1000 for t, at in self.pictures)

    @property
    def encode_s(self) -> float | None:
        """Seconds from the end of the last batch to the finished body; None where nothing was answered."""
        return max(0.0, self.responded - self.engine_ended) if self.pictures and self.responded else None

    @property
    def rejected(self) -> list[str]:
        """Codes of pictures that were not answered; a request that posts none has none."""
        return self.errors if self.method in ("POST", "gRPC") and self.route != "unknown" else []


current_request: ContextVar[RequestRecord | None] = ContextVar("current_request", default=None)
"""The request that this task works for; None in a call through a DeploymentHandle."""
