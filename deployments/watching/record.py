"""RequestRecord: data of one request for metrics, log and traces."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from deployments.watching.stage_times import StageTimes


@dataclass
class RequestRecord:
    """One request, from its headers to its answer.

    Attributes:
        request_id: The X-Request-ID (gRPC: the metadata's request_id), sanitised.
        method: HTTP method, or `gRPC`.
        route: The route's path as declared, or the full name of the gRPC method; `unknown` if none matched.
        status: HTTP status, for gRPC the equivalent one; 0 until the answer starts.
        outcome: `ok`, `partial` (some pictures of several failed), `cancelled` (the client left), or the error's code.
        pictures: The times of each answered picture.
        errors: Error codes, one per failed picture, or one for the whole request.
        started: When the request arrived; this and the other times in `time.perf_counter` seconds.
        responded: When the body was ready to be sent; 0 before.
        key: Name of the request's key; empty if it has none, or an unknown one.
        held_bytes: Bytes of its body, which are held until it is over.
    """

    request_id: str
    method: str
    route: str = "unknown"
    status: int = 0
    outcome: str = "ok"
    pictures: list[StageTimes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    responded: float = 0.0
    key: str = ""
    held_bytes: int = 0

    def answered(self, times: StageTimes) -> None:
        """Records an answered picture."""
        self.pictures.append(times)

    def failed(self, code: str) -> None:
        """Records the error of a picture or of the whole request."""
        self.errors.append(code)

    def respond(self, status: int) -> None:
        """Records the answer, whose body is ready."""
        self.status = status
        self.responded = time.perf_counter()
        if self.errors:
            self.outcome = "partial" if status < 400 else self.errors[0]

    @property
    def engine_ended(self) -> float:
        """When the last batch with a picture of this request ended."""
        return max(times.batch_ended for times in self.pictures)

    @property
    def encode_s(self) -> float | None:
        """Seconds from the end of the last batch to the finished body; None if nothing was answered."""
        return max(0.0, self.responded - self.engine_ended) if self.pictures and self.responded else None

    @property
    def rejected(self) -> list[str]:
        """Codes of pictures that were not answered; empty for requests without pictures."""
        return self.errors if self.method in ("POST", "gRPC") and self.route != "unknown" else []


current_request: ContextVar[RequestRecord | None] = ContextVar("current_request", default=None)
"""The request of the current task; None in a call through a DeploymentHandle."""
