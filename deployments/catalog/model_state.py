"""ModelState: whether a model is served, as Ray Serve tells of its application."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ray.serve.schema import ApplicationStatus, DeploymentStatusTrigger

DELETED = "its application was deleted"
"""Why a model is not served whose application Serve does not know any more."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
LONGEST = 500
"""Characters of a message, at most."""

_ANSWERING = ("RUNNING", "RECOVERING")
"""States of replicas that answer: a controller that has ended and starts again finds the second ones, and asks them."""

_STATES = {
    ApplicationStatus.RUNNING: "serving",
    ApplicationStatus.DEPLOYING: "starting",
    ApplicationStatus.NOT_STARTED: "starting",
    ApplicationStatus.DELETING: "ending",
    ApplicationStatus.DEPLOY_FAILED: "failed",
    ApplicationStatus.UNHEALTHY: "unhealthy",
}


class ModelState(NamedTuple):
    """Whether a model is served.

    Attributes:
        state: `serving`, `starting`, `failed`, `unhealthy` or `ending`.
        message: Why it is not served; empty if it is.
        replicas: Number of replicas that would answer.
    """

    state: str
    message: str = ""
    replicas: int = 0

    @property
    def answers(self) -> bool:
        """Whether a request would be answered: also while other replicas start, fail or are replaced."""
        return self.replicas > 0

    @property
    def failure(self) -> str:
        """Why the model cannot be served; empty if it is, or may soon be."""
        return self.message or "it could not be served" if self.state == "failed" and not self.answers else ""

    @property
    def over(self) -> bool:
        """Whether nothing is served, and nothing will be before the application is deployed anew."""
        return self.state in ("failed", "ending") and not self.answers

    @classmethod
    def of(cls, application: Any) -> ModelState:
        """Returns what Serve's overview of a model's application tells; None: it knows none of that name."""
        if application is None:
            return cls("ending", DELETED)
        state = _STATES.get(application.status, "unhealthy")
        deployments = list(application.deployments.values())
        running = sum(deployment.replica_states.get(each, 0) for deployment in deployments for each in _ANSWERING)
        if state == "serving":
            return cls(state, "", running)
        # Serve tries on and on to start a replica of what ran before.
        stuck = any(each.status_trigger == DeploymentStatusTrigger.REPLICA_STARTUP_FAILED for each in deployments)
        if state == "unhealthy" and stuck and not running:
            state = "failed"
        message = next((d.message for d in deployments if d.message), application.message)
        return cls(state, _reason(message), running)


def _reason(message: str) -> str:
    """Returns what a message of Serve's says at last: it ends with the error of a replica, below its traceback."""
    lines = [line.strip() for line in _ESCAPES.sub("", message).splitlines() if line.strip()]
    return lines[-1][:LONGEST] if lines else ""
